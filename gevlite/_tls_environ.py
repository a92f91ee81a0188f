"""The variables of a TLS connection in environ, under the names of Apache's mod_ssl."""

from ssl import DER_cert_to_PEM_cert

__all__ = ["tls_environ"]

# RFC 4514, 3; and other types that are common in certificates. The rest keep OpenSSL's long name.
_SHORT = {
    "commonName": "CN", "localityName": "L", "stateOrProvinceName": "ST", "organizationName": "O",
    "organizationalUnitName": "OU", "countryName": "C", "streetAddress": "street", "domainComponent": "DC",
    "userId": "UID", "givenName": "GN", "surname": "SN",
}  # fmt: skip


def tls_environ(sock):
    """A dict: HTTPS, SSL_PROTOCOL, SSL_CIPHER and SSL_CLIENT_VERIFY; if that is SUCCESS also SSL_CLIENT_CERT (PEM),
    SSL_CLIENT_S_DN, SSL_CLIENT_I_DN, SSL_CLIENT_M_SERIAL, SSL_CLIENT_V_START and SSL_CLIENT_V_END. Empty if `sock` is
    not a TLS socket.
    """
    if not hasattr(sock, "cipher"):
        return {}
    cipher = sock.cipher()
    found = {
        "HTTPS": "on", "SSL_PROTOCOL": sock.version() or "", "SSL_CIPHER": cipher[0] if cipher else "",
        "SSL_CLIENT_VERIFY": "NONE",
    }  # fmt: skip
    # Empty unless the certificate was verified by an authority that the server's context names.
    certificate = sock.getpeercert()
    if certificate:
        found["SSL_CLIENT_VERIFY"] = "SUCCESS"
        found["SSL_CLIENT_CERT"] = DER_cert_to_PEM_cert(sock.getpeercert(True))
        found["SSL_CLIENT_S_DN"] = _name(certificate["subject"])
        found["SSL_CLIENT_I_DN"] = _name(certificate["issuer"])
        found["SSL_CLIENT_M_SERIAL"] = certificate["serialNumber"]
        found["SSL_CLIENT_V_START"] = certificate["notBefore"]
        found["SSL_CLIENT_V_END"] = certificate["notAfter"]
    return found


def _name(parts):
    """RFC 4514, as a string for environ: the bytes of UTF-8 as latin-1 characters."""
    words = []
    for part in reversed(parts):
        words.append("+".join(f"{_SHORT.get(key, key)}={_escaped(value)}" for key, value in part))
    return ",".join(words).encode("utf-8", "replace").decode("latin-1")


def _escaped(value):
    text = "".join(f"\\{c}" if c in ',+"\\<>;=' else c if c.isprintable() else f"\\{ord(c):02X}" for c in value)
    if text.startswith(("#", " ")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and not text.endswith("\\ ") else text

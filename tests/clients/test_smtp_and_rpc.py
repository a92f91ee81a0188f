"""smtplib and xmlrpc.client, unmodified under `patch_all()`."""

COUNT = 5

SMTP = """
import smtplib
import urllib.parse
from email.message import EmailMessage

def fetch(url, n):
    message = EmailMessage()
    message["Subject"] = f"Number {n}"
    message.set_content("first line\\n.\\n..two dots\\n" + f"line of {n}\\n" * 5000)
    with smtplib.SMTP("127.0.0.1", urllib.parse.urlsplit(url).port, timeout=40) as server:
        STARTTLS
        refused = server.send_message(message, f"from{n}@example.org", [f"to{n}@example.org", "nobody@example.org"])
        return [list(refused), refused["nobody@example.org"][0]]
"""


def check_mail(seen, encrypted):
    assert seen.values == [[["nobody@example.org"], 550]] * COUNT
    assert seen.most == COUNT
    assert len(seen.received) == COUNT
    for n, (sender, recipients, text, was_encrypted) in enumerate(sorted(seen.received)):
        head, body = text.split("\r\n\r\n", 1)
        assert (sender, recipients) == (f"from{n}@example.org", [f"to{n}@example.org"])
        assert f"Subject: Number {n}" in head.split("\r\n")
        assert body == "first line\r\n.\r\n..two dots\r\n" + f"line of {n}\r\n" * 5000
        assert was_encrypted == encrypted


def test_smtplib_sends_messages_at_the_same_time(fetch_at_once):
    check_mail(fetch_at_once(SMTP.replace("STARTTLS", "pass"), kind="SMTPServer"), encrypted=False)


def test_smtplib_sends_messages_after_starttls(fetch_at_once, certificates):
    starttls = "import ssl; server.starttls(context=ssl.create_default_context())"
    seen = fetch_at_once(
        SMTP.replace("STARTTLS", starttls),
        kind="SMTPServer",
        certificate=certificates.server,
        env={"SSL_CERT_FILE": certificates.ca},
    )
    check_mail(seen, encrypted=True)


def test_xmlrpc_calls_are_in_flight_at_the_same_time(fetch_at_once):
    code = """
import xmlrpc.client

def fetch(url, n):
    with xmlrpc.client.ServerProxy(url) as proxy:
        return proxy.meet(n)
"""
    seen = fetch_at_once(code, kind="RPCServer")
    assert seen.values == [f"meet {n}" for n in range(COUNT)]
    assert seen.most == COUNT

"""smtplib, unmodified, under `patch_all()`."""


def test_several_messages_are_handed_over_at_once(client, smtp_server):
    smtp_server.crowd = 5
    lines = client(
        """
        import smtplib
        from email.message import EmailMessage
        import gevlite
        def send(n):
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", f"number {n}"
            message.set_content("line\\n.line with a dot\\n" * 1000)
            with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=40) as connection:
                return connection.send_message(message)
        print([greenlet.get() for greenlet in [gevlite.spawn(send, n) for n in range(5)]])
        """,
        smtp_server.port,
    )
    assert lines == ["[{}, {}, {}, {}, {}]"]
    assert smtp_server.most == 5
    assert sorted(text.partition("number ")[2][0] for text in smtp_server.received) == list("01234")
    assert all(text.count("\r\n..line with a dot\r\n") == 1000 for text in smtp_server.received)


def test_starttls(client, smtp_server, certificates):
    lines = client(
        """
        import smtplib, ssl
        import gevlite
        def send():
            with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=40) as connection:
                connection.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
                print(type(connection.sock).__module__, connection.sock.version()[:3])
                return connection.sendmail("a@example.org", ["b@example.org"], "secret")
        print(gevlite.spawn(send).get())
        """,
        smtp_server.port,
        certificates.ca,
    )
    assert lines == ["gevlite.ssl TLS", "{}"]
    assert smtp_server.received == ["secret\r\n"]


def test_a_server_that_does_not_answer_is_a_time_out(client):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        lines = client(
            """
            import smtplib
            try:
                smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=0.05)
            except smtplib.SMTPServerDisconnected as exc:
                print(exc)
            """,
            silent.getsockname()[1],
        )
    assert lines == ["Connection unexpectedly closed: timed out"]

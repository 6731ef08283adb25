"""A real SMTP server (aiosmtpd) on a loopback port, for the tests of the mail channel.

Prints one JSON object a line: {"event": "ready", "port": N}, then for every mail
{"event": "mail", "from": ..., "to": [...], "headers": {...}, "body": ...} or {"event": "refused", ...}.

    server.py [--port N] [--refuse N] [--code 451] [--starttls CERT KEY] [--login USER PASSWORD]

--refuse N refuses the first N mails with the code; --code 550 with --refuse 1 is a recipient who does not exist.
Ends when its standard input does.
"""

import argparse
import asyncio
import email
import email.policy
import json
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


def tell(**facts):
    print(json.dumps(facts), flush=True)


class Mailbox:
    def __init__(self, refuse, code):
        self.refuse = refuse
        self.code = code

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        facts = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in mail.items()},
            "body": mail.get_content(),
            "tls": session.ssl is not None,
            "authenticated": session.authenticated,
        }
        if self.refuse > 0:
            self.refuse -= 1
            tell(event="refused", code=self.code, **facts)
            return f"{self.code} not now"
        tell(event="mail", **facts)
        return "250 taken"


async def serve(options):
    handler = Mailbox(options.refuse, options.code)
    tls = None
    if options.starttls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.starttls)

    def authenticate(server, session, envelope, mechanism, data):
        login = [data.login.decode(), data.password.decode()]
        return AuthResult(success=login == options.login, handled=False)

    def protocol():
        return SMTP(
            handler,
            hostname="localhost",
            enable_SMTPUTF8=True,
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=authenticate if options.login else None,
            auth_required=options.login is not None,
            auth_require_tls=False,
        )

    loop = asyncio.get_running_loop()
    warnings.simplefilter("ignore")
    server = await loop.create_server(protocol, "127.0.0.1", options.port)
    tell(event="ready", port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--refuse", type=int, default=0)
parser.add_argument("--code", type=int, default=451)
parser.add_argument("--starttls", nargs=2, metavar=("CERT", "KEY"))
parser.add_argument("--login", nargs=2, metavar=("USER", "PASSWORD"))
asyncio.run(serve(parser.parse_args()))

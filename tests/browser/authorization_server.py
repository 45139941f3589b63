"""An authorization server with a login page of its own, on another site than the callback."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

from aiohttp import web


class LoginServer:
    """Listens on 127.0.0.1 and calls itself `localhost`: to a browser that is another site than `127.0.0.1`.

    Its form is sent by POST and answered by a redirect to the callback, as most servers do. A code is good once, and
    only with the verifier of its challenge (RFC 7636 §4.6); `refused` counts those that were not.
    """

    async def start(self):
        application = web.Application()
        application.router.add_get("/authorize", self._form)
        application.router.add_post("/authorize", self._consent)
        application.router.add_post("/token", self._token)
        application.router.add_post("/revoke", self._revoke)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://localhost:{self.port}/authorize"
        self.authority = f"localhost:{self.port}"
        self.token_url = f"http://{self.authority}/token"
        self.revocation_url = f"http://{self.authority}/revoke"
        self.answer = None
        self.codes = {}
        self.refused = 0
        self.issued = []
        self.revoked = []

    async def close(self):
        await self._runner.cleanup()

    async def _form(self, request):
        page = "<!doctype html><title>Sign in</title><form method=post><button>Allow</button></form>"
        return web.Response(text=page, content_type="text/html")

    async def _consent(self, request):
        query = dict(parse_qsl(request.query_string))
        code = f"code-{len(self.codes) + 1}"
        self.codes[code] = query
        back = urlencode({**(self.answer or {"code": code}), "state": query["state"]})
        return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{back}"})

    async def _token(self, request):
        form = await request.post()
        asked = self.codes.pop(form.get("code", ""), None)
        proof = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        fits = asked is not None and asked["code_challenge_method"] == "S256" and asked["code_challenge"] == proof
        if not fits or form["redirect_uri"] != asked["redirect_uri"]:
            self.refused += 1
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.issued.append(f"canary-access-{len(self.issued) + 1}")
        return web.json_response(
            {"access_token": self.issued[-1], "token_type": "Bearer", "expires_in": 3600, "refresh_token": "canary-r"}
        )

    async def _revoke(self, request):
        self.revoked.append((await request.post())["token"])
        return web.Response()

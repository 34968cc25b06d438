"""What the test of the API server's security talks to: an OpenID issuer, webhooks, and a reader of the audit log."""

import base64
import http.server
import json
import ssl
import subprocess
import sys
import time


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(key, issuer, subject, *claims):
    """A token that the issuer's key has signed; `name=value` sets a claim."""
    body = {"iss": issuer, "sub": subject, "aud": "us", "exp": int(time.time()) + 600, "hd": "x", "roles": "a,b"}
    for claim in claims:
        name, value = claim.split("=", 1)
        body[name] = int(value) if value.isdigit() else value
    head = encoded(json.dumps({"alg": "RS256", "kid": "k1"}).encode())
    signed = head + "." + encoded(json.dumps(body).encode())
    sign = ["openssl", "dgst", "-sha256", "-sign", key]
    signature = subprocess.run(sign, input=signed.encode(), capture_output=True, check=True).stdout
    print(signed + "." + encoded(signature))


def noted(log, *wanted):
    """Whether a line of the log has all of these fields; dots lead into objects, as far as there are any."""

    def get(tree, path):
        if not isinstance(tree, dict) or path in tree:
            return tree.get(path) if isinstance(tree, dict) else None
        head, _, rest = path.partition(".")
        return get(tree.get(head), rest) if rest else None

    for line in open(log):
        event = json.loads(line)
        if all(str(get(event, field)) == value for field, value in (pair.split("=", 1) for pair in wanted)):
            return print(line)
    sys.exit("no event has all of that")


def serve(port, folder):
    modulus = subprocess.run(
        ["openssl", "rsa", "-in", folder + "/issuer.key", "-noout", "-modulus"], capture_output=True, check=True
    ).stdout
    modulus = encoded(bytes.fromhex(modulus.decode().strip().split("=")[1]))
    issuer = "https://127.0.0.1:%s" % port
    documents = {
        "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": issuer + "/keys"},
        "/keys": {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1", "n": modulus, "e": "AQAB"}]},
    }

    reasons = {"refused": "the stand-in says no", "unknown": "the stand-in knows no such place"}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, document):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(documents[self.path])

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/audit":
                with open(folder + "/events.log", "a") as log:
                    log.writelines(json.dumps(event) + "\n" for event in asked["items"])
                asked = {}
            elif self.path == "/token":
                good = asked["spec"]["token"] == "magic"
                asked["status"] = {"authenticated": good, "user": {"username": "told"} if good else {}}
            elif self.path == "/authorize":
                place = asked["spec"].get("resourceAttributes", {}).get("namespace")
                asked["status"] = {"allowed": place in ("allowed", "both"), "denied": place in ("refused", "both")}
                if place in reasons:
                    asked["status"]["reason"] = reasons[place]
            elif self.path == "/images":
                with open(folder + "/images.log", "a") as log:
                    log.write(json.dumps(asked["spec"]) + "\n")
                bad = any("bad" in container["image"] for container in asked["spec"]["containers"])
                asked["status"] = {"allowed": not bad, "reason": "the stand-in knows it" if bad else ""}
                asked["status"]["auditAnnotations"] = {"seen": "by-the-stand-in"}
            elif self.path.startswith("/admit"):
                shown = self.headers.get("Authorization", "")
                status = {"message": "the stand-in was shown %r" % shown}
                asked = {"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": {
                    "uid": asked["request"]["uid"], "allowed": shown == "Bearer hook", "status": status}}
            self.answer(asked)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder + "/stand-in.crt", folder + "/stand-in.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    {"token": token, "noted": noted, "serve": serve}[sys.argv[1]](*sys.argv[2:])

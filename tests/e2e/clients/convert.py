"""A conversion webhook: `convert.py PORT CERTIFICATE KEY LOG`. Of the two versions of a Host, v1 has `hostPort`, and v2 has
`host` and `port`. Each call adds a line to the log: how many objects were in it."""

import http.server
import json
import ssl
import sys

port, certificate, key, log = sys.argv[1:]
open(log, "w").close()


def convert(thing, wanted):
    if wanted.endswith("/v2") and "hostPort" in thing:
        thing["host"], _, thing["port"] = thing.pop("hostPort").partition(":")
    elif wanted.endswith("/v1") and "host" in thing:
        thing["hostPort"] = f"{thing.pop('host')}:{thing.pop('port', '')}"
    thing["apiVersion"] = wanted
    return thing


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review.pop("request")
        with open(log, "a") as file:
            print(len(request["objects"]), file=file)
        objects = [convert(thing, request["desiredAPIVersion"]) for thing in request["objects"]]
        review["response"] = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        self.answer(review)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()

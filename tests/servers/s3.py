"""An S3 server for tests: moto's, behind a lock, so that a conditional put is atomic as on S3, and with faults on demand.

    python s3.py            prints the port, serves 127.0.0.1 until it is killed; everything is in memory
    POST /--fault--         {"kind": "503" | "lost" | "403", "method": "PUT", "path": "/log/", "count": 2}: what happens to the next
                            requests of this method (any if empty) whose path contains the text: they are refused, or done without an answer

Needs `pip install 'moto[s3]==5.2.5' flask flask-cors`.
"""

import io
import json
import socket
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

inner, lock, faults = DomainDispatcherApplication(create_backend_app), threading.Lock(), []


def taken(env):
    with lock:
        for fault in faults:
            if fault["method"] in ("", env["REQUEST_METHOD"]) and fault["path"] in env["PATH_INFO"]:
                fault["count"] -= 1
                if fault["count"] <= 0:
                    faults.remove(fault)
                return fault["kind"]
    return None


def app(env, start_response):
    length = env.get("CONTENT_LENGTH")
    if length:  # The body is read before the lock is taken: uploads go on side by side.
        env["wsgi.input"] = io.BytesIO(env["wsgi.input"].read(int(length)))
    if env["PATH_INFO"] == "/--fault--":
        with lock:
            faults.append(json.load(env["wsgi.input"]))
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]
    kind = taken(env)
    if kind in ("503", "403"):
        code = "SlowDown" if kind == "503" else "AccessDenied"
        start_response(f"{kind} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()]
    with lock:
        answer = b"".join(inner(env, start_response))
    if kind == "lost":
        env["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return [b""]
    return [answer]


server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
sys.stdout.close()
server.serve_forever()

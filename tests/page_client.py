"""Asks a served page for what its own script asks for."""

import http.client
import json
import urllib.request
import uuid
from urllib.parse import urlsplit

from tubedet.web.job_request import RUN

TAB = "0" * 32


def get(address, path):
    """Status and content; the path goes over as it is."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def upload(address, path):
    """Sends a file as the page does and returns its path on the server."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"'
    body = f"{head}\r\n\r\n".encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", "/gradio_api/upload", body, headers)
    response = connection.getresponse()
    content = response.read()
    return response.status, content


def detect(address, path, tab=TAB):
    """Presses the button for a file on the server; returns all messages of the queue."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return ask(address, RUN, [file], 0.5, 1.0, 1.0, tab)


def ask(address, function, *data):
    """Calls a function of the page as it does itself; returns all messages of the queue."""
    session = uuid.uuid4().hex
    body = {"data": data, "fn_index": function, "session_hash": session}
    request = urllib.request.Request(
        f"{address}gradio_api/queue/join",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=120).close()
    data = f"{address}gradio_api/queue/data?session_hash={session}"
    messages = []
    with urllib.request.urlopen(data, timeout=120) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                messages.append(json.loads(line[6:]))
                if messages[-1]["msg"] == "process_completed":
                    return messages
    raise AssertionError(messages)


def join(address, path, session, num_videos=1):
    """Status and content of the answer to a press of the button."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [[file] * num_videos, 0.5, 1, 1, TAB], "fn_index": RUN, "session_hash": session}
    return post(address, body)


def post(address, body):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/gradio_api/queue/join", json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()

import json
import os
import urllib.request

import models


def ask(method, path, body=None):
    request = urllib.request.Request(
        os.environ["KALLICHORE_URL"] + path,
        method=method,
        data=None if body is None else body.model_dump_json(exclude_none=True).encode(),
        headers={
            "Authorization": "Bearer " + os.environ["KALLICHORE_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


kernel = os.environ["KALLICHORE_KERNEL"]
body = models.NewSession(kernel_name=kernel, session_id="datamodel")
session_id = models.CreatedSession(**ask("PUT", "/sessions", body)).session_id
here = "/sessions/" + session_id
models.KernelInfo(**ask("POST", here + "/start"))
body = models.SessionsExecuteBody(code="print('hello')\n1+1")
answer = models.ExecuteAnswer(**ask("POST", here + "/execute", body))
stream, result = [output.root for output in answer.outputs]
assert isinstance(stream, models.StreamOutput) and stream.text == "hello\n", stream
assert isinstance(result, models.ExecuteResultOutput), result
models.ActiveSession(**ask("GET", here))
models.Snapshot(**ask("GET", here + "/snapshot"))
assert ask("POST", here + "/shutdown") is None
assert ask("DELETE", here) is None
print(result.data["text/plain"])

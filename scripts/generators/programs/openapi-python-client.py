import os

from kallichore_client import AuthenticatedClient
from kallichore_client.api.executions import (
    executions_create,
    executions_outputs,
    executions_wait,
)
from kallichore_client.api.sessions import (
    sessions_create,
    sessions_delete,
    sessions_execute,
    sessions_get,
    sessions_shutdown,
    sessions_start,
)
from kallichore_client.models import (
    Error,
    ExecuteResultOutput,
    ExecutionsCreateBody,
    ExecutionsWaitBody,
    NewSession,
    SessionsExecuteBody,
    StreamOutput,
)

client = AuthenticatedClient(
    base_url=os.environ["KALLICHORE_URL"], token=os.environ["KALLICHORE_TOKEN"]
)
with client:
    kernel = os.environ["KALLICHORE_KERNEL"]
    body = NewSession(kernel_name=kernel, session_id="openapi-python-client")
    session_id = sessions_create.sync(client=client, body=body).session_id
    started = sessions_start.sync(session_id, client=client)
    assert started.language_info.name == "python", started

    body = SessionsExecuteBody(code="print('hello')\n1+1")
    answer = sessions_execute.sync(session_id, client=client, body=body)
    stream, result = answer.outputs
    assert isinstance(stream, StreamOutput) and stream.text == "hello\n", stream
    assert isinstance(result, ExecuteResultOutput), result

    body = ExecutionsCreateBody(code="1+1")
    execution = executions_create.sync(session_id, client=client, body=body)
    one = {"session_id": session_id, "execution_id": execution.execution_id}
    body = ExecutionsWaitBody(timeout_ms=10_000)
    execution = executions_wait.sync(**one, client=client, body=body)
    assert execution.state == "done", execution.state
    kept = executions_outputs.sync(**one, client=client)
    assert kept.outputs[0].data.to_dict() == result.data.to_dict()

    assert sessions_get.sync(session_id, client=client).kernel_name == kernel
    done = sessions_shutdown.sync_detailed(session_id, client=client)
    assert done.status_code == 200, done
    done = sessions_delete.sync_detailed(session_id, client=client)
    assert done.status_code == 200, done
    gone = sessions_get.sync(session_id, client=client)
    assert isinstance(gone, Error) and gone.reason == "session_not_found", gone
    print(result.data["text/plain"])

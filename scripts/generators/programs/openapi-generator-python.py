import os

import openapi_client as api

configuration = api.Configuration(
    host=os.environ["KALLICHORE_URL"], access_token=os.environ["KALLICHORE_TOKEN"]
)
with api.ApiClient(configuration) as client:
    sessions = api.SessionsApi(client)
    executions = api.ExecutionsApi(client)
    kernel = os.environ["KALLICHORE_KERNEL"]
    new_session = api.NewSession(kernel_name=kernel, session_id="generated-python")
    session_id = sessions.sessions_create(new_session).session_id
    assert sessions.sessions_start(session_id).language_info.name == "python"

    answer = sessions.sessions_execute(
        session_id, api.SessionsExecuteBody(code="print('hello')\n1+1")
    )
    stream, result = [output.actual_instance for output in answer.outputs]
    assert isinstance(stream, api.StreamOutput) and stream.text == "hello\n", stream

    execution = executions.executions_create(
        session_id, api.ExecutionsCreateBody(code="1+1")
    )
    execution = executions.executions_wait(session_id, execution.execution_id)
    assert execution.state == api.ExecutionState.DONE, execution.state
    kept = executions.executions_outputs(session_id, execution.execution_id)
    assert kept.outputs[0].actual_instance.data == result.data
    assert executions.executions_list(session_id).executions[-1].state == "done"
    events = executions.executions_follow(session_id, execution.execution_id)
    assert '"execute_result"' in events

    assert sessions.sessions_get(session_id).kernel_name == kernel
    assert sessions.sessions_snapshot(session_id).execution is None
    assert sessions.sessions_list().total > 0
    assert api.ServerApi(client).server_configuration().limits is not None
    assert api.KernelspecsApi(client).kernelspecs_list().kernelspecs is not None

    assert sessions.sessions_shutdown(session_id) is None
    assert sessions.sessions_delete(session_id) is None
    try:
        sessions.sessions_get(session_id)
    except api.ApiException as error:
        assert error.status == 404 and error.data.reason == "session_not_found"
    else:
        raise AssertionError("The session is still there")
    print(result.data["text/plain"])

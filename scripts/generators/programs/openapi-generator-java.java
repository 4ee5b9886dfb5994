import java.util.List;
import org.openapitools.client.*;
import org.openapitools.client.api.*;
import org.openapitools.client.model.*;

public class Main {
  public static void main(String[] arguments) throws ApiException {
    ApiClient client = new ApiClient();
    client.setBasePath(System.getenv("KALLICHORE_URL"));
    client.setBearerToken(System.getenv("KALLICHORE_TOKEN"));
    client.setReadTimeout(120_000);
    String kernel = System.getenv("KALLICHORE_KERNEL");
    SessionsApi sessions = new SessionsApi(client);
    ExecutionsApi executions = new ExecutionsApi(client);
    String id =
        sessions
            .sessionsCreate(new NewSession().kernelName(kernel).sessionId("generated-java"))
            .getSessionId();
    same(sessions.sessionsStart(id).getLanguageInfo().getName(), "python");

    ExecuteAnswer answer =
        sessions.sessionsExecute(id, new SessionsExecuteBody().code("print('hello')\n1+1"));
    List<Output> outputs = answer.getOutputs();
    same(outputs.get(0).getStreamOutput().getText(), "hello\n");
    ExecuteResultOutput result = outputs.get(1).getExecuteResultOutput();

    Execution run = executions.executionsCreate(id, new ExecutionsCreateBody().code("1+1"));
    run = executions.executionsWait(id, run.getExecutionId(), new ExecutionsWaitBody());
    same(run.getState(), ExecutionState.DONE);
    ExecutionOutputs kept = executions.executionsOutputs(id, run.getExecutionId());
    same(kept.getOutputs().get(0).getExecuteResultOutput().getData(), result.getData());

    same(sessions.sessionsGet(id).getKernelName(), kernel);
    same(sessions.sessionsSnapshot(id).getExecution(), null);
    sessions.sessionsShutdown(id);
    sessions.sessionsDelete(id);
    try {
      sessions.sessionsGet(id);
      throw new IllegalStateException("The session is still there");
    } catch (ApiException error) {
      same(error.getCode(), 404);
    }
    System.out.println(result.getData().get("text/plain"));
    System.exit(0); // the HTTP library keeps threads
  }

  static void same(Object one, Object other) {
    if (!java.util.Objects.equals(one, other))
      throw new IllegalStateException(one + " is not " + other);
  }
}

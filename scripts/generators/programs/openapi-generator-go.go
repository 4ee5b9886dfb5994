package main

import (
	"context"
	"fmt"
	"os"

	client "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Getenv("KALLICHORE_URL")}}
	kallichore := client.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), client.ContextAccessToken, os.Getenv("KALLICHORE_TOKEN"))
	sessions, executions := kallichore.SessionsAPI, kallichore.ExecutionsAPI

	session := client.NewNewSession()
	session.SetKernelName(os.Getenv("KALLICHORE_KERNEL"))
	session.SetSessionId("generated-go")
	created, _, err := sessions.SessionsCreate(ctx).NewSession(*session).Execute()
	check(err)
	id := created.SessionId
	started, _, err := sessions.SessionsStart(ctx, id).Execute()
	check(err)
	same(started.LanguageInfo.Name, "python")

	body := client.NewSessionsExecuteBody("print('hello')\n1+1")
	answer, _, err := sessions.SessionsExecute(ctx, id).SessionsExecuteBody(*body).Execute()
	check(err)
	same(answer.Outputs[0].StreamOutput.Text, "hello\n")
	result := answer.Outputs[1].ExecuteResultOutput

	run, _, err := executions.ExecutionsCreate(ctx, id).ExecutionsCreateBody(*client.NewExecutionsCreateBody("1+1")).Execute()
	check(err)
	run, _, err = executions.ExecutionsWait(ctx, id, run.ExecutionId).Execute()
	check(err)
	same(run.State, client.DONE)
	kept, _, err := executions.ExecutionsOutputs(ctx, id, run.ExecutionId).Execute()
	check(err)
	same(kept.Outputs[0].ExecuteResultOutput.Data["text/plain"], result.Data["text/plain"])

	_, err = sessions.SessionsShutdown(ctx, id).Execute()
	check(err)
	_, err = sessions.SessionsDelete(ctx, id).Execute()
	check(err)
	_, response, _ := sessions.SessionsGet(ctx, id).Execute()
	same(response.StatusCode, 404)
	fmt.Println(result.Data["text/plain"])
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func same(one, other any) {
	if one != other {
		panic(fmt.Sprint(one, " is not ", other))
	}
}

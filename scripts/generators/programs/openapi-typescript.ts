import { strictEqual } from "node:assert";
import createClient from "openapi-fetch";
import type { paths } from "./generated.ts";

const {
  KALLICHORE_URL: baseUrl = "",
  KALLICHORE_TOKEN: token = "",
  KALLICHORE_KERNEL: kernel_name = "",
} = process.env;

const client = createClient<paths>({
  baseUrl,
  headers: { authorization: `Bearer ${token}` },
});
const created = await client.PUT("/sessions", {
  body: { kernel_name, session_id: "openapi-typescript" },
});
if (created.data === undefined) throw new Error(created.error.message);
const params = { path: { session_id: created.data.session_id } };
const started = await client.POST("/sessions/{session_id}/start", { params });
strictEqual(started.data?.language_info.name, "python");
const { data: answer } = await client.POST("/sessions/{session_id}/execute", {
  params,
  body: { code: "print('hello')\n1+1" },
});
const [stream, result] = answer?.outputs ?? [];
if (stream?.output_type !== "stream") throw new Error("No stream");
if (result?.output_type !== "execute_result") throw new Error("No result");
strictEqual(stream.text, "hello\n");

const shut = await client.POST("/sessions/{session_id}/shutdown", { params });
strictEqual(shut.response.status, 200);
const deleted = await client.DELETE("/sessions/{session_id}", { params });
strictEqual(deleted.response.status, 200);
const gone = await client.GET("/sessions/{session_id}", { params });
strictEqual(gone.error?.reason, "session_not_found");
console.log(result.data["text/plain"]);

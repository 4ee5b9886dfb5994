/**
 * What each reason means and what to do about it, for people. `npm run docs`
 * writes docs/errors.md from it. Nothing that a page loads imports this file.
 */
import type { Reason } from "./reasons.ts";

interface Explanation {
  readonly means: string;
  readonly todo: string;
}

export const explanations: Readonly<Record<Reason, Explanation>> = {
  session_exists: {
    means: "The `session_id` of a new session belongs to another session.",
    todo: "Attach to that session, delete it, or choose another id. With `kernel_name` and without `session_id`, the server makes an id up.",
  },
  session_not_found: {
    means:
      "The server has no session with this id. It never had one, the session was deleted, or the server was started again: sessions do not outlive their server.",
    todo: "List the sessions (`GET /sessions`), and create the session if it is not there.",
  },
  session_running: {
    means:
      "The operation needs a session whose kernel does not run: a start, an adoption, or a deletion.",
    todo: "Use the running kernel, or shut it down (`POST /sessions/{session_id}/shutdown`) and repeat the request.",
  },
  session_not_running: {
    means: "The operation needs a running kernel, and the session has none.",
    todo: "Start the session, then repeat the request.",
  },
  process_not_found: {
    means:
      "The kernel's process could not be signalled, or it was still there after it was killed.",
    todo: "Read the reason in the sentence. If the process still runs, end it with the means of the operating system.",
  },
  start_failed: {
    means:
      "The kernel could not be started: its command could not be run, or the session has no command (`argv` is empty).",
    todo: "Read the reason in the sentence and the output of the process in the answer. Correct the kernelspec, the environment or the working directory, and start again.",
  },
  connection_failed: {
    means:
      "The kernel's process runs, but the server could not connect to it: what answers on a port does not speak ZeroMQ, or is not this kernel.",
    todo: "Read the reason in the sentence; it names the channel. For an adoption, check the connection info.",
  },
  connection_timeout: {
    means:
      "The kernel did not answer `kernel_info_request` within the session's `connection_timeout`.",
    todo: "Look at the output of the process in the answer. If the kernel is only slow, create the session with a longer `connection_timeout`.",
  },
  exited_during_start: {
    means: "The kernel's process ended before it answered.",
    todo: "Look at the exit code and the output of the process in the answer. Often a package is missing from the kernel's environment.",
  },
  interrupt_failed: {
    means:
      "The code could not be interrupted: there is no running kernel, the kernel's process is not one that the server can signal, or the kernel refused the request.",
    todo: "Read the reason in the sentence. While the kernel starts, wait until it is ready. To end a kernel that cannot be interrupted, kill it.",
  },
  no_process: {
    means:
      "The session has no process that the server could kill: it was never started, or its kernel was adopted from elsewhere.",
    todo: "Shut the session down (the kernel then gets a `shutdown_request`), or end the kernel where it was started.",
  },
  restart_failed: {
    means:
      "The session cannot be restarted: another restart is going on, or the session was shut down meanwhile.",
    todo: "Wait for the other request to end, then look at the session's status.",
  },
  exited_before_handshake: {
    means:
      "The kernel's process ended before it registered its ports (JEP 66).",
    todo: "Look at the exit code and the output of the process in the answer.",
  },
  handshake_failed: {
    means:
      "The kernel did not register its ports (JEP 66) in time, or its registration was not valid.",
    todo: "Read the reason in the sentence. Check that the kernel supports the protocol version in its kernelspec, and its `connection_timeout`.",
  },
  no_connection_info: {
    means:
      "The server could not reserve ports or Unix sockets for the session's kernel.",
    todo: "Read the reason in the sentence: usually ports, files or the directory for temporary files ran out.",
  },
  program_not_found: {
    means:
      "The program of the session's `argv` does not exist, or is not on the kernel's `PATH`.",
    todo: "Install the program, give its full path, or correct `PATH` in the session's `env`.",
  },
  bad_configuration: {
    means:
      "A value of `POST /server_configuration` is not valid, and no value was changed. Or the configuration of the server does not allow the request, such as `keep: true` on a server that keeps no sessions, or `limits` above those of the server.",
    todo: "Correct the value that the sentence names.",
  },

  unauthorized: {
    means: "The request has no token, or a wrong one.",
    todo: "Send the server's token as `Authorization: Bearer <token>`; where no header can be set, as `?token=`. A server that was started again has a new token.",
  },
  forbidden: {
    means:
      "The token is right, but the request is not permitted: its `Origin` or `Host` is not allowed, or its principal lacks a scope.",
    todo: "For a web page start the server with `--allow-origin`; for another host name with `--allow-host`. A missing scope is a decision of the program that embeds the server (see [access](access.md)).",
  },
  bad_request: {
    means:
      "The input does not fit the operation: not JSON, a missing or wrong member, a value out of range, or too many values.",
    todo: "Correct the member that the sentence names. The OpenAPI document has the schema.",
  },
  not_found: {
    means: "The server has nothing at this address.",
    todo: "Check the path, and the path under which the server answers (`--base-url`, or the path at which it is embedded). The OpenAPI document lists all paths.",
  },
  method_not_allowed: {
    means: "The address exists, but not with this HTTP method.",
    todo: "Use a method that the header `Allow` names.",
  },
  too_large: {
    means: "The body of a request is larger than the limit.",
    todo: "Send less in one request.",
  },
  kernelspec_not_found: {
    means: "No kernelspec has this name.",
    todo: "List the kernelspecs (`GET /kernelspecs`), install the kernel, or start the server with `--kernelspec-dir`.",
  },
  bad_kernelspec: {
    means:
      "The kernelspec exists, but cannot be used: its file cannot be read, its `argv` is empty, or it needs a provisioner that this server does not have.",
    todo: "Correct the file that the sentence names.",
  },
  bad_working_directory: {
    means:
      "The working directory does not exist or cannot be used, and the request has `working_directory_required`.",
    todo: "Create the directory, or give another one. Without `working_directory_required` the kernel starts in the server's own directory instead.",
  },
  bad_message: {
    means:
      "A message for a kernel is not valid: a member is missing, of the wrong type, or nested too deep. The client also reports with it a reply that the protocol does not allow.",
    todo: "Correct the message as the sentence says.",
  },
  kernel_exited: {
    means:
      "The kernel ended before it answered the request or finished the code.",
    todo: "Look at the session's events for the exit code. Start or restart the session, then repeat the request; the kernel's variables are lost.",
  },
  no_answer: {
    means: "The kernel did not answer the request in time.",
    todo: "The kernel may be busy or unresponsive: wait, interrupt it, or give a longer `timeout_ms`.",
  },
  kernel_unreachable: {
    means: "The connection to the kernel does not accept messages at present.",
    todo: "Read the reason in the sentence. If the session stays `offline`, restart it.",
  },
  shutting_down: {
    means: "The server ends, and starts no new session or kernel.",
    todo: "Use another server, or start this one again.",
  },
  too_busy: {
    means:
      "Too many messages wait: for the kernel (64 MiB, or the number of requests in the sentence), in the client for the server, or for a listener of a comm.",
    todo: "Wait until some have been taken, then repeat the request.",
  },
  execution_not_found: {
    means:
      "The session has no execution with this id. It never had one, or the execution ended and is no longer kept (the last hundred are).",
    todo: "Check the id. The list of executions counts those that are no longer kept (`forgotten`).",
  },
  execution_state: {
    means:
      "The execution is not in a state for this operation: an answer to code that does not ask, an interrupt of code that does not run, a cancellation of code that does not wait.",
    todo: "Look at the execution (`GET …/executions/{execution_id}`). Usually another client was faster, or the code has ended.",
  },
  upgrade_required: {
    means: "The address is a WebSocket, and the request is plain HTTP.",
    todo: "Connect with a WebSocket client ([channels](channels.md)).",
  },
  internal: {
    means: "A bug in the server. Its log has the details.",
    todo: "Report it, with the lines of the log that have the answer's `x-span-id`.",
  },
  execution_timeout: {
    means:
      "Code that was run with `timeout_seconds` did not end in time, and was interrupted.",
    todo: "Give more time, or start the code with `POST …/executions` and read its outputs later.",
  },
  bad_answer: {
    means:
      "The kernel answered the request with a message that the server cannot read.",
    todo: "This is a fault of the kernel: report it to the kernel's authors. The session's journal has a `refused` event with the reason ([the journal](journal.md#which-messages-of-a-kernel-are-accepted)).",
  },
  session_replaced: {
    means:
      "The session has another journal than the client knows: the server was started again, or the session was deleted and created again under the same id. The request was not carried out in the new session.",
    todo: "Read the sentence: it says whether the code may have run before. Then decide whether to repeat the request with the new `journal_id`.",
  },
  request_timeout: {
    means: "The head or the body of the request did not arrive in time.",
    todo: "Check the connection and the client, then repeat the request.",
  },
  headers_too_large: {
    means: "The head of the request (address and headers) is too large.",
    todo: "Send less in the address: a smaller tRPC batch (`maxURLLength` of 8,000), or fewer cookies.",
  },
  kernel_not_found: {
    means:
      "A client of Jupyter's API named a kernel that does not exist, or that was shut down.",
    todo: "List the kernels (`GET /api/kernels`), or start one.",
  },
  jupyter_session_not_found: {
    means:
      "A client of Jupyter's API named a session that does not exist, or whose kernel was shut down.",
    todo: "List the sessions (`GET /api/sessions`), or start one.",
  },
  execution_aborted: {
    means:
      "Code that a client sent below Jupyter's addresses did not run, or not to its end: a client cancelled it, code before it failed, or its kernel ended.",
    todo: "Read the reason in the sentence. What the code printed before is at `GET /sessions/{session_id}/executions/{execution_id}/outputs`.",
  },
  resource_limit: {
    means:
      "As many kernels run as the server was told to allow (`--max-kernels`). No kernel was started.",
    todo: "Shut down a kernel that is not used, and repeat the request.",
  },
  connection_file_not_found: {
    means:
      "A request to adopt a kernel named a connection file that Jupyter's runtime directory does not have, or that cannot be read.",
    todo: "List the kernels that can be adopted (`GET /external_kernels`). Only files of the server's own user are read.",
  },
  port_unreachable: {
    means:
      "No connection to that TCP port of the kernel's machine can be opened. Only ports of loopback can be reached on which a process of the kernel's own tree listens; that is known on Linux only, and for kernels that the server or its keeper started.",
    todo: "Read the reason in the sentence. Start the program that listens from the kernel, on 127.0.0.1 or ::1, and wait until it listens.",
  },
};

#!/usr/bin/env node
import { startServer } from "../serve.ts";

const server = await startServer();
console.log(server.url);

// What test_javascript.py has Azure's clients for JavaScript do: one command, its result as JSON on standard output.
"use strict";

const { ClientSecretCredential, EnvironmentCredential } = require("@azure/identity");
const { LogsIngestionClient, isAggregateLogsUploadError } = require("@azure/monitor-ingestion");
const { LogsQueryClient } = require("@azure/monitor-query-logs");

const env = process.env;
const local = { disableInstanceDiscovery: true };
const signedIn = () => new EnvironmentCredential(local);
const ingestion = () => new LogsIngestionClient(env.HEADRACE_INGEST_URL, signedIn());
const queries = () => new LogsQueryClient(signedIn(), { endpoint: env.HEADRACE_QUERY_URL });
const everything = { startTime: new Date(0), endTime: new Date("2100-01-01T00:00:00Z") };

const commands = {
  // Some megabytes: the client cuts them and sends the pieces side by side.
  async upload(rule, stream, first, count) {
    const rows = Array.from({ length: Number(count) }, (_, number) => ({
      Time: new Date(Number(first) + number),
      Number: number,
      Text: `${number} – ${"x".repeat(500)}`,
      Inner: { tags: ["a", number], deep: { empty: null } },
    }));
    await ingestion().upload(rule, stream, rows);
    return "uploaded";
  },

  async refused(rule, stream) {
    try {
      await ingestion().upload(rule, stream, [{ Number: 1 }, { Number: 2 }]);
      return "taken";
    } catch (error) {
      if (!isAggregateLogsUploadError(error)) throw error;
      return error.errors.map(({ cause, failedLogs }) => ({
        status: cause.statusCode,
        code: cause.code,
        message: cause.message,
        failed: failedLogs.length,
      }));
    }
  },

  async query(workspace, ...texts) {
    const batch = texts.map((query) => ({ workspaceId: workspace, query, timespan: everything }));
    return queries().queryBatch(batch);
  },

  async single(workspace, text) {
    try {
      return await queries().queryWorkspace(workspace, text, everything);
    } catch (error) {
      return { status: error.statusCode, code: error.code, message: error.message };
    }
  },

  async wrongSecret() {
    const authorityHost = env.AZURE_AUTHORITY_HOST;
    const credential = new ClientSecretCredential(
      env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, "not-the-secret", { authorityHost, ...local });
    try {
      await credential.getToken("https://monitor.azure.com/.default");
      return "taken";
    } catch (error) {
      return { name: error.name, message: error.message };
    }
  },
};

const [name, ...values] = process.argv.slice(2);
commands[name](...values).then((result) => console.log(JSON.stringify(result)));

// Reads lines of {"name", "schemas", "many", "value"} and writes a line for each value that fits none of its schemas, with what is
// wrong by the schema that it comes nearest to.
import { createInterface } from "node:readline";
import * as spec from "./spec.mjs";

function wrong(schemas, value) {
  const results = schemas.map((name) => spec[`${name}Schema`].safeParse(value));
  if (results.some((result) => result.success)) return null;
  const issues = results.map((result) => result.error.issues);
  issues.sort((left, right) => left.length - right.length);
  return issues[0].map((issue) => `${issue.path.join(".")}: ${issue.message} (${issue.code})`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { name, schemas, many, value } = JSON.parse(line);
  for (const one of many ? value : [value]) {
    const found = wrong(schemas, one);
    if (found) console.log(JSON.stringify({ name, wrong: found, value: one }));
  }
}

// Runs npm's discord-digital-twin on the loopback interface, for test_twin.py. Each line on stdin names a method of it (or of a
// table of its database) and has its argument; each line on stdout is what the method has returned.
import http from "node:http";
import readline from "node:readline";
import { DigitalDiscord } from "discord-digital-twin";

const listen = http.Server.prototype.listen;
http.Server.prototype.listen = function (port, ready) {
  return listen.call(this, port, "127.0.0.1", ready);
};
const discord = new DigitalDiscord(JSON.parse(process.argv.at(-1)));
await discord.start();
const say = (value) => process.stdout.write(JSON.stringify(value ?? null) + "\n");
say(discord.restUrl);
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { table, method, argument } = JSON.parse(line);
  say(await (table ? discord.prisma[table] : discord)[method](argument));
}
process.exit(0);

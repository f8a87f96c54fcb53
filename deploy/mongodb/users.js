// The users of deploy/mongodb/users.json, each with a password that is asked for. Once, as an administrator:
//   mongosh "mongodb://ADMIN@HOST/admin" deploy/mongodb/users.js
const users = JSON.parse(require("fs").readFileSync(`${__dirname}/users.json`, "utf8"));
for (const user of users) {
  print(`Password of ${user.createUser}:`);
  db.getSiblingDB("admin").runCommand({ ...user, pwd: passwordPrompt() });
}

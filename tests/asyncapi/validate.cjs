// Validates an AsyncAPI document with the parser that AsyncAPI's own command line uses: every error and warning on a
// line of its own, exit code 1 if there is one.
const { Parser, fromFile } = require("@asyncapi/parser");

const WARNING = 1;

fromFile(new Parser(), process.argv[2])
  .parse()
  .then(({ document, diagnostics }) => {
    const faults = diagnostics.filter((one) => one.severity <= WARNING);
    for (const fault of faults) console.log(`${fault.path.join(".")}: ${fault.message} (${fault.code})`);
    process.exitCode = faults.length > 0 || document === undefined ? 1 : 0;
  });

// Format Lua files, or list the unformatted ones: node stylua.mjs MODULES write|check FOLDER.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, mode, folder] = process.argv.slice(2);
const stylua = createRequire(join(resolve(modules), "/"))("@johnnymorganz/stylua");

function createConfig() {
  // stylua.formatCode consumes the object, so each call needs a new one.
  const config = stylua.Config.new();
  config.indent_type = stylua.IndentType.Spaces;
  config.indent_width = 2;
  config.column_width = 110;
  config.quote_style = stylua.QuoteStyle.AutoPreferSingle;
  return config;
}

const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".lua"));
const unformatted = files.filter((name) => {
  const file = join(folder, name);
  const text = readFileSync(file, "utf8");
  const verification = stylua.OutputVerification.Full;
  const formatted = stylua.formatCode(text, createConfig(), undefined, verification);
  if (mode === "write") {
    writeFileSync(file, formatted);
  }
  return mode === "check" && formatted !== text;
});
for (const name of unformatted) {
  console.error(`${join(folder, name)} is not formatted; run \`make format-lua\``);
}
process.exit(unformatted.length === 0 ? 0 : 1);

// Format Lua, or say what is not formatted: node stylua.mjs MODULES write|check FOLDER.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, mode, folder] = process.argv.slice(2);
const stylua = createRequire(join(resolve(modules), "/"))("@johnnymorganz/stylua");

function style() {
  // Formatting uses the object up.
  const config = stylua.Config.new();
  config.indent_type = stylua.IndentType.Spaces;
  config.indent_width = 2;
  config.column_width = 110;
  config.quote_style = stylua.QuoteStyle.AutoPreferSingle;
  return config;
}

const files = readdirSync(folder, { recursive: true }).filter((one) => one.endsWith(".lua"));
const different = files.filter((name) => {
  const file = join(folder, name);
  const text = readFileSync(file, "utf8");
  const verified = stylua.OutputVerification.Full;
  const formatted = stylua.formatCode(text, style(), undefined, verified);
  if (mode === "write") {
    writeFileSync(file, formatted);
  }
  return mode === "check" && formatted !== text;
});
for (const name of different) {
  console.error(`${join(folder, name)} is not formatted; \`make format-lua\` does it`);
}
process.exit(different.length === 0 ? 0 : 1);

/* ---------------------------------------------------------------- texts of reports ------------ */
// Unix seconds for people; the number itself when no calendar has that date.
function utc(seconds) {
  const moment = BigInt(seconds);
  if (moment < 0n || moment > 253402300799n) return `second ${moment}`;
  const text = new Date(Number(moment) * 1000).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

// Someone else's text so that it cannot pass for lines, colours or directions of ours. Which
// characters are not plain is listed, so that it does not hang on a version of Unicode.
const NOT_PLAIN = new RegExp(
  "[\\u0000-\\u001f\\u007f-\\u00a0\\u00ad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u115f\\u1160\\u1680\\u180e" +
    "\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ud800-\\uf8ff\\ufdd0-\\ufdef\\ufeff\\uffa0\\ufff0-\\ufffb" +
    "\\u{110bd}\\u{110cd}\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d159}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e00ff}\\u{e01f0}-\\u{e0fff}" +
    "\\u{f0000}-\\u{10ffff}]",
  "u",
);
const isPlain = (c) => !NOT_PLAIN.test(c) && (c.codePointAt(0) & 0xffff) < 0xfffe;

// Someone else's text in quotes that it cannot end: what follows them is ours.
const inQuotes = (text) => `"${oneLine(text.replace(/["\\]/g, "\\$&"))}"`;

function oneLine(text) {
  const short = new Map([["\t", "\\t"], ["\n", "\\n"], ["\r", "\\r"]]);
  const escaped = (c) => {
    if (isPlain(c)) return c;
    const digits = c.codePointAt(0).toString(16);
    if (short.has(c)) return short.get(c);
    if (digits.length <= 2) return "\\x" + digits.padStart(2, "0");
    return digits.length <= 4 ? "\\u" + digits.padStart(4, "0") : "\\U" + digits.padStart(8, "0");
  };
  // A row of spaces would begin a line of its own where long lines are broken.
  return Array.from(text, escaped).join("").replace(/(?<= ) /g, "\\x20");
}

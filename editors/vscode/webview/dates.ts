// Dates relative to now, in the language of the browser. Pure.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Return a date as people say it: "5 minutes ago", "yesterday", or the date if it is older. */
export function relativeDate(date: Date, now: Date, locale?: string): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const age = Math.max(0, now.getTime() - date.getTime());
  const days = Math.round((startOfDay(now) - startOfDay(date)) / DAY);
  if (age < HOUR) {
    return age < MINUTE
      ? format.format(0, "second")
      : format.format(-Math.floor(age / MINUTE), "minute");
  }
  if (days <= 0) {
    return format.format(-Math.floor(age / HOUR), "hour");
  }
  if (days < 7) {
    return format.format(-days, "day");
  }
  return date.toLocaleDateString(locale, { dateStyle: "medium" });
}

function startOfDay(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

// Dates in the words of Python's strftime, for chat templates that tell a model what day it is. English, local time.

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** Directives that it does not know stay as they are. */
export function strftime(date: Date, format: string): string {
  const [month = '', day = ''] = [MONTHS[date.getMonth()], DAYS[date.getDay()]];
  const hour = date.getHours();
  const startOfYear = new Date(date.getFullYear(), 0, 1);
  // Noon to noon, so that a change of the clocks does not move a day.
  const dayOfYear = Math.round((new Date(date).setHours(12, 0, 0, 0) - startOfYear.setHours(12)) / 86_400_000) + 1;
  const values: Readonly<Record<string, string | [value: number, width: number]>> = {
    Y: String(date.getFullYear()),
    y: [date.getFullYear() % 100, 2],
    m: [date.getMonth() + 1, 2],
    d: [date.getDate(), 2],
    e: String(date.getDate()).padStart(2, ' '),
    j: [dayOfYear, 3],
    H: [hour, 2],
    I: [hour % 12 || 12, 2],
    M: [date.getMinutes(), 2],
    S: [date.getSeconds(), 2],
    B: month,
    b: month.slice(0, 3),
    A: day,
    a: day.slice(0, 3),
    p: hour < 12 ? 'AM' : 'PM',
    '%': '%',
  };
  return format.replace(/%(-?)([a-zA-Z%])/g, (whole, dash: string, letter: string) => {
    if (letter === 'F') return strftime(date, '%Y-%m-%d');
    if (letter === 'T') return strftime(date, '%H:%M:%S');
    const value = Object.hasOwn(values, letter) ? values[letter] : undefined;
    if (typeof value === 'object') return String(value[0]).padStart(dash ? 1 : value[1], '0');
    return value ?? whole;
  });
}

/** Guesses which word was meant. */

/**
 * The one of `words` that was probably meant by `typed`: the only one that begins with it, or else the nearest that is
 * one or two typing errors away; undefined when none is.
 */
export function nearest(typed: string, words: string[]): string | undefined {
  const [whole, ...others] = typed.length > 2 ? words.filter((word) => word.startsWith(typed)) : [];
  if (whole !== undefined && others.length === 0) return whole;
  const most = typed.length > 4 ? 2 : 1;
  const [best] = words
    .filter((word) => Math.abs(word.length - typed.length) <= most)
    .map((word) => ({ word, slips: slips(typed, word) }))
    .filter((it) => it.slips <= most)
    .sort((a, b) => a.slips - b.slips);
  return best?.word;
}

/**
 * How many letters are wrong, missing, too many, or swapped with the next one: the distance of Damerau and Levenshtein.
 */
function slips(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

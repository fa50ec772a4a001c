/** Medians of ratios, with the interval that order statistics give: no distribution is assumed. */

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The 95 % interval of the median; of fewer than six values, their whole range. */
export function medianInterval(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  let rank = 0;
  let below = 0;
  // The largest rank whose two tails together hold at most 5 %.
  for (let k = 0; k < n / 2; k++) {
    below += binomial(n, k) / 2 ** n;
    if (2 * below > 0.05) break;
    rank = k + 1;
  }
  const low = Math.max(rank - 1, 0);
  return [sorted[low], sorted[n - 1 - low]];
}

function binomial(n, k) {
  let result = 1;
  for (let i = 1; i <= k; i++) result = (result * (n - k + i)) / i;
  return result;
}

// Counts on where the server stopped: every moment on the page, in the words of proxy/admin/view.py.
"use strict";
(() => {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const away = (seconds) => {
    let length = Math.floor(Math.abs(seconds) + 0.001); // a difference of large numbers is not exact
    if (length < 1) return "now";
    const first = units.findIndex(([, size]) => length >= size);
    const parts = [];
    for (const [name, size] of units.slice(first, first + (seconds > 0 ? 2 : 1))) {
      const count = Math.floor(length / size);
      length %= size;
      if (count && !(name === "s" && parts.length && parseInt(parts[0], 10) >= 10)) parts.push(`${count} ${name}`);
    }
    const span = parts.join(" ");
    return seconds > 0 ? `in ${span}` : `${span} ago`;
  };
  // The two clocks may differ: the page says what the server's was when it was made.
  const made = document.querySelector(".asof time");
  const skew = made ? Date.now() / 1000 - Number(made.dataset.at) : 0;
  const moments = document.querySelectorAll("time[data-at]");
  const count = () => {
    for (const moment of moments) moment.textContent = away(Number(moment.dataset.at) - Date.now() / 1000 + skew);
  };
  count();
  setInterval(count, 1000);
})();

"use strict";
// Keeps the list up to date: progress in place, and the whole page when a job came, went or ended.
const list = document.getElementById("jobs");
const news = document.getElementById("news");
async function refresh() {
  let jobs;
  try {
    const answer = await fetch("/jobs.json");
    if (!answer.ok) throw new Error(String(answer.status));
    jobs = await answer.json();
  } catch {
    news.textContent = "The page cannot reach its server; it tries again.";
    return;
  }
  const shown = new Map([...list.querySelectorAll("[data-job]")].map((item) => [item.dataset.job, item]));
  const changed = jobs.filter((job) => shown.get(job.id)?.dataset.state !== job.state);
  if (changed.length || jobs.length !== shown.size) {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    const focused = document.activeElement?.closest?.("[data-job]")?.dataset.job;
    list.replaceChildren(...page.getElementById("jobs").children);
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"] :is(a, button)`)?.focus();
    news.textContent = changed.slice(0, 3).map((job) => `${job.name}: ${job.state}.`).join(" ");
    return;
  }
  for (const job of jobs) {
    const item = shown.get(job.id);
    const bar = item.querySelector("progress");
    if (!bar) continue;
    bar.max = job.total || 1;
    bar.value = job.done;
    item.querySelector(".count").textContent = `${job.done} of ${job.total}`;
    item.querySelector(".running").textContent = job.running || "nothing yet";
  }
}
setInterval(refresh, 2000);

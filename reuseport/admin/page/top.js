// The top of the page: the verdict, the tab's title and icon, and whether the link still holds.

import { flag, get, make, put, redraw, show } from "./nodes.js";
import { age, clock } from "./words.js";
import { facts, GLYPHS } from "./verdict.js";

let spoken = "";
let verdict = null;

export function showVerdict(status, judged) {
    verdict = judged;
    const box = get("verdict");
    flag(box, "data-tone", judged.tone);
    redraw(box.firstElementChild, judged.tone);
    put(get("headline"), judged.headline);
    list(get("concerns"), judged.concerns);
    put(get("facts"), facts(status).join(" · "));
    const progress = get("progress");
    show(progress, status.reload !== null);
    if (status.reload) {
        progress.max = status.reload.of;
        progress.value = status.reload.done;
    }
    // Read aloud when something happens, not because a second has passed.
    if (judged.key !== spoken) {
        spoken = judged.key;
        put(get("announcer"), [judged.headline, ...judged.concerns].join(". "));
    }
    title(judged.tone, judged.title);
}

function list(host, texts) {
    show(host, texts.length > 0);
    while (host.children.length > texts.length) {
        host.lastElementChild.remove();
    }
    texts.forEach((text, index) => put(host.children[index] ?? host.appendChild(make("li")), text));
}

export function showLink(link) {
    const lost = link.state === "lost" || link.state === "silent";
    flag(document.body, "data-link", link.state);
    show(get("lost"), lost);
    if (!lost) {
        if (verdict) {
            title(verdict.tone, verdict.title);
        }
        return;
    }
    const now = Date.now() / 1000;
    const since = link.since === null ? "" : ` since ${clock(link.since)}, for ${age(now - link.since)}`;
    put(get("lost-since"), link.state === "silent" ? `No news${since}.` : link.since === null ? "Cannot connect." : `Disconnected${since}.`);
    const next = link.retryAt === null ? "Trying now." : `Trying again in ${age(Math.ceil(link.retryAt - now))}.`;
    put(get("lost-next"), `${link.since === null ? "" : "What is shown is from then. "}${link.state === "silent" ? "" : next}`);
    show(get("retry"), link.state === "lost");
    title("unknown", `${GLYPHS.unknown} disconnected${verdict ? verdict.title.replace(/^\S+ \S+/, "") : ""}`);
}

// ── the tab ─────────────────────────────────────────────────────────────────────────────────────────────────────

let drawn = null;

function title(tone, text) {
    if (document.title !== text) {
        document.title = text;
    }
    if (drawn === tone) {
        return;
    }
    drawn = tone;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 32;
    const pen = canvas.getContext("2d");
    pen.fillStyle = { ok: "#1d7a3e", working: "#1f5fbf", attention: "#a86400", bad: "#b3261e", unknown: "#6b7076" }[tone];
    pen.beginPath();
    pen.roundRect(1, 1, 30, 30, 7);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.font = "bold 24px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(GLYPHS[tone], 16, 17);
    document.querySelector("link[rel=icon]").href = canvas.toDataURL();
}

// The page: what the link brings goes to those who show it.

import { Actions, notice } from "./actions.js";
import { Balance } from "./balance.js";
import { Charts } from "./charts.js";
import { Detail } from "./detail.js";
import { prepareDialogs, prepareQuestions } from "./dialogs.js";
import { weigh } from "./evenness.js";
import { showFigures, showRow } from "./figures.js";
import { Journal } from "./journal.js";
import { prepareKeys } from "./keys.js";
import { Link } from "./link.js";
import { get, put } from "./nodes.js";
import { Readings } from "./readings.js";
import { Session } from "./session.js";
import { Slots } from "./slots.js";
import { showLink, showVerdict } from "./top.js";
import { judge } from "./verdict.js";

const readings = new Readings();
const journal = new Journal();
let seen = null; // the last status, and what was read from it
let pointed = null; // the moment under the cursor of the charts

const openSlot = (number) => seen && detail.open(number, seen.status, seen.read);
const balance = new Balance(openSlot);
const slots = new Slots(openSlot);
const charts = new Charts((row) => {
    pointed = row;
    showNumbers();
});
const session = new Session(() => {
    actions.showSession();
    if (seen) {
        detail.show(seen.status, seen.read);
    }
});
const actions = new Actions(session, notice);
const detail = new Detail(session, notice);

function showNumbers() {
    if (pointed) {
        showRow(pointed);
    } else if (seen) {
        showFigures(seen.status, seen.read);
    }
}

function take(status) {
    const read = readings.take(status);
    seen = { status, read, evenness: weigh(status, read) };
    charts.take(status, read);
    showVerdict(status, judge(status, read, seen.evenness, journal.records));
    // Nobody looks: the title above is all that can be seen.
    if (!document.hidden) {
        paint();
    }
}

function paint() {
    const { status, read, evenness } = seen;
    showNumbers();
    balance.show(status, read, evenness);
    slots.show(status, read);
    actions.show(status);
    detail.show(status, read);
    charts.draw();
}

const link = new Link({
    status: take,
    history(samples) {
        readings.forget();
        charts.load(samples);
        session.refresh().catch((error) => notice(error.message));
    },
    records(records, lost) {
        journal.add(records, lost);
        records.forEach((record) => charts.mark(record));
    },
    another() {
        readings.forget();
        charts.forget();
        journal.forget();
        journal.remark("another launcher from here on");
    },
    changed: () => showLink(link),
});

function nextTheme() {
    window.theme.next();
    nameTheme();
    charts.retint();
}

function nameTheme() {
    put(get("theme-name"), window.theme.chosen);
}

prepareDialogs();
prepareQuestions();
prepareKeys(actions, slots, nextTheme);
nameTheme();
get("theme").addEventListener("click", nextTheme);
get("retry").addEventListener("click", () => link.retry());
document.addEventListener("visibilitychange", () => !document.hidden && seen && paint());
setInterval(() => charts.describe(), 10000);
link.open();

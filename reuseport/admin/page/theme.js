// The colours: as the system, light or dark. A classic script in the head, so that no wrong colour is ever painted.
"use strict";

(() => {
    const CHOICES = ["auto", "light", "dark"];
    const KEY = "reuseport-theme";

    // Storage may be refused (private windows, policies): then the choice lasts as long as the page.
    function stored() {
        try {
            return localStorage.getItem(KEY);
        } catch {
            return null;
        }
    }

    function store(choice) {
        try {
            localStorage.setItem(KEY, choice);
        } catch {
            return;
        }
    }

    let chosen = CHOICES.includes(stored()) ? stored() : "auto";
    document.documentElement.dataset.theme = chosen;

    window.theme = {
        get chosen() {
            return chosen;
        },
        next() {
            chosen = CHOICES[(CHOICES.indexOf(chosen) + 1) % CHOICES.length];
            document.documentElement.dataset.theme = chosen;
            store(chosen);
        },
    };
})();

//! Colour, where it helps and where it is wanted. Meaning never rests on it.

use std::io::IsTerminal as _;

use console::Style;

/// Paints for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

/// Paint for stdout.
#[must_use]
pub fn stdout_paint() -> Paint {
    Paint { on: console::colors_enabled() }
}

/// Paint for stderr.
#[must_use]
pub fn stderr_paint() -> Paint {
    Paint { on: console::colors_enabled_stderr() }
}

/// Whether this terminal can be trusted with more than ASCII.
#[must_use]
pub fn unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    utf8 && std::env::var_os("TERM").is_none_or(|term| term != "linux" && term != "dumb")
}

impl Paint {
    /// Decides for both streams: `Some` is `--color always` or `never`, `None` is by terminal
    /// and `NO_COLOR`.
    pub fn decide(choice: Option<bool>) {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let out = choice.unwrap_or_else(|| allowed && std::io::stdout().is_terminal());
        let err = choice.unwrap_or_else(|| allowed && std::io::stderr().is_terminal());
        console::set_colors_enabled(out);
        console::set_colors_enabled_stderr(err);
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on { style.force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }

    /// Well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with(Style::new().green(), text)
    }

    /// Not well.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with(Style::new().red().bold(), text)
    }

    /// Worth a look.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// Less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().dim(), text)
    }

    /// A name or a heading.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }
}

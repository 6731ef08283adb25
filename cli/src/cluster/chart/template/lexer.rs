//! A template's text in tokens. Spaces that a trim marker takes away are gone here; nobody after this hears of them.

use super::TemplateError;

/// A token, and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether it stands apart from the token before it: `.a .b` is two operands, `.a.b` is one.
    pub(super) is_apart: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// Text between actions.
    Text(&'t str),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `(`
    OpenGroup,
    /// `)`
    CloseGroup,
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `.`
    Dot,
    /// `.name`, without its dot.
    Field(&'t str),
    /// `$` or `$name`, whole.
    Variable(&'t str),
    /// A function's name or a keyword.
    Word(&'t str),
    /// A text in quotes, without them.
    Quoted(String),
    /// A number as it was written.
    Number(&'t str),
}

impl Kind<'_> {
    /// How a message calls it.
    pub(super) fn called(&self) -> String {
        match self {
            Self::Text(_) => "text".to_owned(),
            Self::Open => "{{".to_owned(),
            Self::Close => "}}".to_owned(),
            Self::OpenGroup => "(".to_owned(),
            Self::CloseGroup => ")".to_owned(),
            Self::Pipe => "|".to_owned(),
            Self::Comma => ",".to_owned(),
            Self::Declare => ":=".to_owned(),
            Self::Assign => "=".to_owned(),
            Self::Dot => ".".to_owned(),
            Self::Field(name) => format!(".{name}"),
            Self::Variable(text) | Self::Word(text) | Self::Number(text) => (*text).to_owned(),
            Self::Quoted(text) => format!("{text:?}"),
        }
    }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The tokens of `text`.
///
/// # Errors
/// When an action does not end, or holds what no action may.
pub(super) fn lex<'t>(file: &str, text: &'t str) -> Result<Vec<Token<'t>>, TemplateError> {
    let mut lexer = Lexer { file, rest: text, line: 1, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.text();
        if !lexer.rest.is_empty() {
            lexer.action()?;
        }
    }
    Ok(lexer.tokens)
}

struct Lexer<'f, 't> {
    file: &'f str,
    rest: &'t str,
    line: usize,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'_, 't> {
    /// Text up to the next action or the end.
    fn text(&mut self) {
        let length = self.rest.find("{{").unwrap_or(self.rest.len());
        let line = self.line;
        let whole = self.take(length);
        let kept = if trims_before(self.rest) { whole.trim_end_matches(SPACE) } else { whole };
        if !kept.is_empty() {
            self.tokens.push(Token { kind: Kind::Text(kept), line, is_apart: false });
        }
    }

    /// One action, from `{{` to `}}`, or a comment, of which nothing remains.
    fn action(&mut self) -> Result<(), TemplateError> {
        let started = self.line;
        let marker = if trims_before(self.rest) { 2 } else { 0 };
        self.take(2);
        if self.rest[marker..].starts_with("/*") {
            self.take(marker);
            return self.comment();
        }
        self.push(Kind::Open, 0, false);
        self.take(marker);
        let mut depth = 0_usize;
        loop {
            let before = self.rest.len();
            self.rest_of_spaces();
            let is_apart = self.rest.len() != before;
            if self.rest.starts_with("}}") || (is_apart && self.rest.starts_with("-}}")) {
                if depth > 0 {
                    return Err(self.error("a `(` is not closed"));
                }
                self.close();
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(TemplateError::at(self.file, started, "the action does not end"));
            };
            match first {
                '(' => depth += 1,
                ')' if depth == 0 => return Err(self.error("a `)` was not opened")),
                ')' => depth -= 1,
                _ => {}
            }
            self.token(first, is_apart)?;
        }
    }

    fn comment(&mut self) -> Result<(), TemplateError> {
        let Some(end) = self.rest.find("*/") else { return Err(self.error("the comment does not end")) };
        self.take(end + 2);
        let trimmed = self.rest.strip_prefix(SPACE).is_some_and(|rest| rest.starts_with("-}}"));
        if trimmed {
            self.take(1);
        } else if !self.rest.starts_with("}}") {
            return Err(self.error("a comment is to fill its action"));
        }
        self.close_silently();
        Ok(())
    }

    /// The end of an action, which is known to be there, and the spaces that it trims.
    fn close(&mut self) {
        self.push(Kind::Close, 0, false);
        self.close_silently();
    }

    fn close_silently(&mut self) {
        if self.rest.starts_with('-') {
            self.take(3);
            self.rest_of_spaces();
        } else {
            self.take(2);
        }
    }

    fn token(&mut self, first: char, is_apart: bool) -> Result<(), TemplateError> {
        let second = self.rest.chars().nth(1);
        match first {
            '(' => self.push(Kind::OpenGroup, 1, is_apart),
            ')' => self.push(Kind::CloseGroup, 1, is_apart),
            '|' => self.push(Kind::Pipe, 1, is_apart),
            ',' => self.push(Kind::Comma, 1, is_apart),
            '=' => self.push(Kind::Assign, 1, is_apart),
            ':' if second == Some('=') => self.push(Kind::Declare, 2, is_apart),
            '"' => return self.quoted(is_apart),
            '`' => return self.raw(is_apart),
            '.' if second.is_some_and(is_word) && !second.is_some_and(|next| next.is_ascii_digit()) => {
                let word = self.word(1)?;
                self.push(Kind::Field(&word[1..]), word.len(), is_apart);
            }
            '.' => {
                self.word(1)?;
                self.push(Kind::Dot, 1, is_apart);
            }
            '$' => {
                let word = self.word(1)?;
                self.push(Kind::Variable(word), word.len(), is_apart);
            }
            '+' | '-' | '0'..='9' => {
                let end = |letter: char| !(is_word(letter) || matches!(letter, '.' | '+' | '-'));
                let length = self.rest.find(end).unwrap_or(self.rest.len());
                self.push(Kind::Number(&self.rest[..length]), length, is_apart);
            }
            _ if is_word(first) => {
                let word = self.word(0)?;
                self.push(Kind::Word(word), word.len(), is_apart);
            }
            _ => return Err(self.error(format!("`{first}` has no place in an action"))),
        }
        Ok(())
    }

    /// The word that begins after `prefix` bytes, with them. It must end where a word may end.
    fn word(&self, prefix: usize) -> Result<&'t str, TemplateError> {
        let end =
            self.rest[prefix..].find(|letter| !is_word(letter)).map_or(self.rest.len(), |end| prefix + end);
        let (word, after) = self.rest.split_at(end);
        let ends = after.starts_with(SPACE) || after.starts_with(['.', ',', '|', ':', ')', '(']);
        if ends || after.is_empty() || after.starts_with("}}") {
            return Ok(word);
        }
        Err(self.error(format!("`{}` has no place after `{word}`", &after[..after.ceil_char_boundary(1)])))
    }

    fn raw(&mut self, is_apart: bool) -> Result<(), TemplateError> {
        let Some(length) = self.rest[1..].find('`') else { return Err(self.error("the text does not end")) };
        let text = self.rest[1..=length].to_owned();
        self.push(Kind::Quoted(text), length + 2, is_apart);
        Ok(())
    }

    fn quoted(&mut self, is_apart: bool) -> Result<(), TemplateError> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.push(Kind::Quoted(text), at + 1, is_apart);
                    return Ok(());
                }
                '\n' => break,
                '\\' => text.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, 'r')) => '\r',
                    Some((_, same @ ('\\' | '"'))) => same,
                    _ => return Err(self.error("of escapes there are \\n, \\t, \\r, \\\\ and \\\"")),
                }),
                _ => text.push(letter),
            }
        }
        Err(self.error("the text does not end"))
    }

    fn push(&mut self, kind: Kind<'t>, length: usize, is_apart: bool) {
        self.tokens.push(Token { kind, line: self.line, is_apart });
        self.take(length);
    }

    fn rest_of_spaces(&mut self) {
        self.take(self.rest.len() - self.rest.trim_start_matches(SPACE).len());
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::at(self.file, self.line, message)
    }
}

/// Whether the action at the beginning of `rest` trims the text before it: `{{-` and a space.
fn trims_before(rest: &str) -> bool {
    rest.strip_prefix("{{-").is_some_and(|after| after.starts_with(SPACE))
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let tokens = lex("t", text).unwrap();
        let words = tokens.iter().map(|token| match &token.kind {
            Kind::Text(text) => format!("{text:?}"),
            kind => format!("{}{}", if token.is_apart { "_" } else { "" }, kind.called()),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_marker_trims_the_text_on_its_side_and_no_other() {
        assert_eq!(told("a \n {{ .x }} \n b"), r#""a \n " {{ _.x }} " \n b""#);
        assert_eq!(told("a \n {{- .x }} \n b"), r#""a" {{ .x }} " \n b""#);
        assert_eq!(told("a \n {{ .x -}} \n b"), r#""a \n " {{ _.x }} "b""#);
        assert_eq!(told(" {{- .x -}} "), "{{ .x }}");
        assert_eq!(told("a {{-3}} b"), r#""a " {{ -3 }} " b""#);
    }

    #[test]
    fn of_a_comment_nothing_remains() {
        assert_eq!(told("a {{/* x */}} b"), r#""a " " b""#);
        assert_eq!(told("a {{- /* x\n}} */ -}} b"), r#""a" "b""#);
        assert_eq!(
            lex("t", "a {{/* x */ .y }}").unwrap_err().to_string(),
            "t:1: a comment is to fill its action"
        );
    }

    #[test]
    fn what_stands_together_belongs_together() {
        assert_eq!(told("{{.a.b .c}}"), "{{ .a .b _.c }}");
        assert_eq!(told("{{(f $x.y).z | g}}"), "{{ ( f _$x .y ) .z _| _g }}");
        assert_eq!(told("{{$a, $b := .}}"), "{{ $a , _$b _:= _. }}");
        assert_eq!(told(r#"{{f "a\"\n}}" `\n` -1.5}}"#), r#"{{ f _"a\"\n}}" _"\\n" _-1.5 }}"#);
    }

    #[test]
    fn what_cannot_be_is_told_with_its_line() {
        let error = |text: &str| lex("t", text).unwrap_err().to_string();
        assert_eq!(error("\n{{ .a\n"), "t:2: the action does not end");
        assert_eq!(error("\n\n{{ (f }}"), "t:3: a `(` is not closed");
        assert_eq!(error("{{ f) }}"), "t:1: a `)` was not opened");
        assert_eq!(error("{{ .a+1 }}"), "t:1: `+` has no place after `.a`");
        assert_eq!(error("{{ \"a }}"), "t:1: the text does not end");
        assert_eq!(error("{{ ? }}"), "t:1: `?` has no place in an action");
    }

    #[test]
    fn lines_are_counted_over_text_and_trims() {
        let lines: Vec<usize> =
            lex("t", "a\n\n{{- .x -}}\n\nb\n{{ .y }}").unwrap().iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 3, 3, 3, 5, 6, 6, 6]);
    }
}

//! Schedules of CronJobs, refused as the library that upstream parses them with refuses them.

/// The fields of a schedule: the least and the greatest number, and names for them in their order from the least.
const FIELDS: [(i64, i64, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether a text is a schedule: five fields, a descriptor, or `@every` with a duration. Errors are the library's.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if schedule.starts_with('@') {
        return descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, bounds) in fields.into_iter().zip(FIELDS) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    let Some(duration) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    let read = kinit_duration::nanoseconds(duration);
    read.map(|_| ()).map_err(|error| format!("failed to parse duration {text}: {error}"))
}

/// `3`, `3-5`, `*`, and any of them with a step: `*/10`.
fn range(text: &str, (least, most, names): (i64, i64, &[&str])) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => (least, most),
        [only] => {
            let only = number_or_name(only, least, names)?;
            (only, only)
        }
        [start, end] => (number_or_name(start, least, names)?, number_or_name(end, least, names)?),
        _ => {
            number_or_name(ends[0], least, names)?;
            return Err(format!("too many hyphens: {text}"));
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = most;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, least: i64, names: &[&str]) -> Result<i64, String> {
    match (least..).zip(names).find(|(_, name)| text.eq_ignore_ascii_case(name)) {
        Some((number, _)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if all { "value out of range" } else { "invalid syntax" };
    let number: Option<i64> = text.parse().ok();
    match number.filter(|_| all) {
        None => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}")),
        Some(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Some(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_refused_in_the_words_of_upstreams_library() {
        let not_int =
            |text: &str| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax");
        let cases = [
            ("* * * * *x", not_int("*x")),
            ("a * * * *", not_int("a")),
            ("1.5 * * * *", not_int("1.5")),
            ("* * * * foo", not_int("foo")),
            ("-1 * * * *", not_int("")),
            ("*/x * * * *", not_int("x")),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range"
                    .to_owned(),
            ),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1".to_owned()),
            ("60 * * * *", "end of range (60) above maximum (59): 60".to_owned()),
            ("1-70 * * * *", "end of range (70) above maximum (59): 1-70".to_owned()),
            ("* 24 * * *", "end of range (24) above maximum (23): 24".to_owned()),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0".to_owned()),
            ("* * * 13 *", "end of range (13) above maximum (12): 13".to_owned()),
            ("* * * * 7", "end of range (7) above maximum (6): 7".to_owned()),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1".to_owned()),
            ("*/0 * * * *", "step of range should be a positive number: */0".to_owned()),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3".to_owned()),
            ("1/2/3 * * * *", "too many slashes: 1/2/3".to_owned()),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]".to_owned()),
            ("@foo", "unrecognized descriptor: @foo".to_owned()),
            ("@Hourly", "unrecognized descriptor: @Hourly".to_owned()),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\"".to_owned()),
        ];
        for (schedule, why) in cases {
            assert_eq!(check(schedule), Err(why), "{schedule}");
        }
        let good = "* * * jan *;* * * JAN-feb *;* * * * sun,MON;1, * * * *;, * * * *;? ? ? ? ?;1/2 * * * *;*-5 * * * *;\
                    @hourly;@every 1h;@every -1h;0 0 31 2 *;*/100 * * * *;  * * * * *  ;+5 * * * *";
        for schedule in good.split(';') {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
    }
}

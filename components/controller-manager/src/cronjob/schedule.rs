//! Schedules in cron's notation. Pure.

use jiff::ToSpan;
use jiff::Zoned;

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// A schedule that has no time within five years (the 30th of February) never has one.
const HORIZON_YEARS: i16 = 5;

/// One field: a bit for each value that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it takes any value; the rule for the two day fields depends on it.
    any: bool,
}

impl Field {
    fn has(self, value: i64) -> bool {
        (0..64).contains(&value) && self.bits & (1 << value) != 0
    }
}

/// A schedule: minute, hour, day of the month, month, day of the week; or an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At these times of these days.
    Times(Fields),
    /// Every so many seconds.
    Every(i64),
}

/// The five fields of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

fn number(text: &str, names: &[&str], base: u32) -> Result<u32, String> {
    if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(at as u32 + base);
    }
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Result<Field, String> {
    let mut out = Field { bits: 0, any: text == "*" || text == "?" };
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step, &[], 0)?),
            None => (part, 1),
        };
        if step == 0 {
            return Err(format!("the step of {part:?} is 0"));
        }
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (least, most),
            Some((from, to)) => (number(from, names, least)?, number(to, names, least)?),
            // A number with a step runs to the end.
            None if part.contains('/') => (number(range, names, least)?, most),
            None => {
                let only = number(range, names, least)?;
                (only, only)
            }
        };
        if from < least || to > most || from > to {
            return Err(format!("{part:?} is not within {least} to {most}"));
        }
        for value in (from..=to).step_by(step as usize) {
            out.bits |= 1 << value;
        }
    }
    Ok(out)
}

impl Schedule {
    /// Reads five fields, or one of the words that begin with `@`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(interval) = text.strip_prefix("@every ") {
            let span = kinit_duration::parse(interval.trim()).map_err(|why| why.to_string())?;
            let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            return if seconds > 0 { Ok(Self::Every(seconds)) } else { Err("the interval is too short".into()) };
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", parts.len()));
        };
        Ok(Self::Times(Fields {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, MONTHS)?,
            weekday: field(weekday, 0, 6, DAYS)?,
        }))
    }

    /// The first time after `after`; `None` if there is none.
    pub fn next(&self, after: &Zoned) -> Option<Zoned> {
        let times = match self {
            Self::Every(seconds) => return after.checked_add(seconds.seconds()).ok(),
            Self::Times(times) => times,
        };
        let last = after.year() + HORIZON_YEARS;
        let mut at = after.with().second(0).subsec_nanosecond(0).build().ok()?.checked_add(1.minute()).ok()?;
        while at.year() <= last {
            if !times.month.has(at.month().into()) {
                at = at.first_of_month().ok()?.start_of_day().ok()?.checked_add(1.month()).ok()?;
            } else if !times.on(&at) {
                at = at.tomorrow().ok()?.start_of_day().ok()?;
            } else if !times.hour.has(at.hour().into()) {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !times.minute.has(at.minute().into()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }
}

impl Fields {
    /// Whether the day is one of them: if both day fields are restricted, either suffices.
    fn on(&self, at: &Zoned) -> bool {
        let day = self.day.has(at.day().into());
        let weekday = self.weekday.has(at.weekday().to_sunday_zero_offset().into());
        if self.day.any || self.weekday.any { day && weekday } else { day || weekday }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_found() {
        for (schedule, after, wanted) in [
            ("* * * * *", "2027-01-01T00:00:30Z", "2027-01-01T00:01:00Z"),
            ("*/15 * * * *", "2027-01-01T00:15:00Z", "2027-01-01T00:30:00Z"),
            ("5 4 * * *", "2027-01-01T04:05:00Z", "2027-01-02T04:05:00Z"),
            ("0 0 1 * *", "2027-01-15T00:00:00Z", "2027-02-01T00:00:00Z"),
            ("0 0 29 2 *", "2027-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 13 * FRI", "2027-01-01T00:00:00Z", "2027-01-08T00:00:00Z"),
            ("0 9-17/4 * * MON-FRI", "2027-01-02T10:00:00Z", "2027-01-04T09:00:00Z"),
            ("@hourly", "2027-01-01T23:59:59Z", "2027-01-02T00:00:00Z"),
            ("@every 90s", "2027-01-01T00:00:00Z", "2027-01-01T00:01:30Z"),
            ("30 1,2 * jan,mar ?", "2027-01-31T02:30:00Z", "2027-03-01T01:30:00Z"),
        ] {
            let after: jiff::Timestamp = after.parse().unwrap();
            let next = Schedule::parse(schedule).unwrap().next(&after.to_zoned(jiff::tz::TimeZone::UTC));
            assert_eq!(next.unwrap().timestamp().to_string(), wanted, "{schedule}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_the_impossible_never_comes() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "x * * * *",
            "@every 0s",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap().next(&now), None);
    }
}

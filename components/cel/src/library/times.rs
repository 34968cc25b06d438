//! Timestamps and durations.

use jiff::Zoned;
use jiff::tz::{Offset, TimeZone};

use super::{Cost, Row, f, fail, row};
use crate::time;
use crate::value::Result;
use crate::value::Value::{Duration, Int, String as Str, Timestamp};

const ONE: Cost = Cost::Fixed(1);
const SECOND: i64 = 1_000_000_000;

/// A part of a timestamp, in UTC and in another time zone.
macro_rules! part {
    ($rows:ident, $name:literal, $get:expr) => {
        $rows.push(row(concat!("timestamp:", $name, "()->int"), ONE, f!([Timestamp(at)] => {
            let get: fn(&Zoned) -> i64 = $get;
            Ok(Int(get(&at.to_zoned(TimeZone::UTC))))
        })));
        $rows.push(row(concat!("timestamp:", $name, "(string)->int"), ONE, f!([Timestamp(at), Str(zone)] => {
            let get: fn(&Zoned) -> i64 = $get;
            Ok(Int(get(&at.to_zoned(zone_of(zone)?))))
        })));
    };
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "timestamp(string)->timestamp",
            ONE,
            f!([Str(text)] => match time::timestamp(text) {
                Ok(time) => Ok(Timestamp(time)),
                Err(error) => fail(error),
            }),
        ),
        row("timestamp(timestamp)->timestamp", ONE, f!([Timestamp(time)] => Ok(Timestamp(*time)))),
        row(
            "timestamp(int)->timestamp",
            ONE,
            f!([Int(seconds)] => match jiff::Timestamp::from_second(*seconds) {
                Ok(time) => Ok(Timestamp(time)),
                Err(_) => fail("timestamp overflow"),
            }),
        ),
        row(
            "duration(string)->duration",
            ONE,
            f!([Str(text)] => match kinit_duration::nanoseconds(text) {
                Ok(nanos) => Ok(Duration(nanos)),
                Err(why) => fail(why.to_string()),
            }),
        ),
        row("duration(duration)->duration", ONE, f!([Duration(nanos)] => Ok(Duration(*nanos)))),
        row("duration(int)->duration", ONE, f!([Int(nanos)] => Ok(Duration(*nanos)))),
        row("duration:getHours()->int", ONE, f!([Duration(nanos)] => Ok(Int(nanos / (3600 * SECOND))))),
        row("duration:getMinutes()->int", ONE, f!([Duration(nanos)] => Ok(Int(nanos / (60 * SECOND))))),
        row("duration:getSeconds()->int", ONE, f!([Duration(nanos)] => Ok(Int(nanos / SECOND)))),
        row("duration:getMilliseconds()->int", ONE, f!([Duration(nanos)] => Ok(Int(nanos / (SECOND / 1000))))),
    ];
    part!(rows, "getFullYear", |at| at.year().into());
    part!(rows, "getMonth", |at| i64::from(at.month()) - 1);
    part!(rows, "getDayOfYear", |at| i64::from(at.day_of_year()) - 1);
    part!(rows, "getDayOfMonth", |at| i64::from(at.day()) - 1);
    part!(rows, "getDate", |at| at.day().into());
    part!(rows, "getDayOfWeek", |at| at.weekday().to_sunday_zero_offset().into());
    part!(rows, "getHours", |at| at.hour().into());
    part!(rows, "getMinutes", |at| at.minute().into());
    part!(rows, "getSeconds", |at| at.second().into());
    part!(rows, "getMilliseconds", |at| at.millisecond().into());
    rows
}

/// A time zone by its name or by its distance from UTC, such as `-08:00`.
fn zone_of(name: &str) -> Result<TimeZone> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let sign = if hours.starts_with('-') { -1 } else { 1 };
        let seconds =
            hours.parse::<i32>().ok().zip(minutes.parse::<u16>().ok()).and_then(|(hours, minutes)| {
                hours.checked_abs()?.checked_mul(3600)?.checked_add(i32::from(minutes) * 60)
            });
        return match seconds.and_then(|seconds| Offset::from_seconds(sign * seconds).ok()) {
            Some(offset) => Ok(offset.to_time_zone()),
            None => fail(format!("unknown time zone {name}")),
        };
    }
    match TimeZone::get(name) {
        Ok(zone) => Ok(zone),
        Err(_) => fail(format!("unknown time zone {name}")),
    }
}

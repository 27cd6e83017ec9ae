"""The features of the past row by row, in plain Python with exact fractions, from the words of `HistoryConfig`."""

import datetime
import functools
import math
import struct
import zoneinfo
from fractions import Fraction

import numpy as np

HOUR_US = 3_600_000_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
SIGNAL_BY_MEASURE = {
    "click_rate": "click",
    "long_watch_rate": "long_watch",
    "satisfaction_rate": "satisfaction",
    "watch_seconds": "watch_seconds",
}
KINDS = ("like", "follow", "comment", "share", "profile_visit", "hide")


def further_measures(history):
    return {measure for one in history.aggregates for measure in one.measures} - {*SIGNAL_BY_MEASURE, "impressions"}


def further_facts(index, row, own, measure, history):
    """Facts of one impression; of these measures the signal is called as the measure."""
    plays = sorted({event["engaged_at"] for event in own if event["kind"] == "play"})
    totals = {
        moment: sum(in_steps(each["watch_seconds"]) for each in own if each["kind"] == "play" and each["engaged_at"] <= moment)
        for moment in plays
    }
    if measure == "log_watch":
        before = Fraction(0)
        for moment, total in totals.items():
            level = in_steps(math.log1p(total))
            if level != before:
                yield index, measure, moment, level - before
            before = level
        return
    kind = measure.removesuffix("_rate")
    if kind in KINDS:
        moments = [event["engaged_at"] for event in own if event["kind"] == kind]
    else:
        least = measure.removeprefix("watched_").removesuffix("_rate")
        if least.endswith("pct"):
            if not (row["duration"] and row["duration"] > 0):
                return
            # As the column holds it: a float of 32 bits.
            duration = np.float64(np.float32(row["duration"])) * history.duration.seconds_per_unit
            seconds = in_steps(float(int(least[:-3]) / 100 * (duration * (1 - 2.0**-23))))
        else:
            seconds = int(least[:-1])
        moments = [moment for moment, total in totals.items() if total >= seconds]
    if moments:
        yield index, measure, min(moments), Fraction(1)


def in_steps(amount):
    """An amount rounded to multiples of 2^-20, at most 2^22."""
    return Fraction(round(min(Fraction(amount), 2**22) * 2**20), 2**20)


def mix_of(events, satisfaction):
    kinds = {event["kind"] for event in events}
    mix = sum(Fraction(weight) for kind, weight in satisfaction.weights.items() if kind.value in kinds)
    scores = [event["score"] for event in events if event["kind"] == "survey"]
    if scores and satisfaction.survey_weight:
        mix += Fraction(satisfaction.survey_weight) * (Fraction(max(scores)) - Fraction(satisfaction.survey_neutral))
    return mix


def facts(rows, events, config):
    """Set of (row, signal, at, amount)."""
    found = []
    for index, row in enumerate(rows):
        found.append((index, "impression", row["impressed_at"], Fraction(1)))
        shown_at = row["impressed_at"]
        own = [{**event, "engaged_at": max(event["engaged_at"], shown_at)} for event in events if event["row"] == index]
        is_long = is_satisfied = False
        grade = Fraction(0)
        for moment in sorted({event["engaged_at"] for event in own}):
            so_far = [event for event in own if event["engaged_at"] <= moment]
            seconds = sum(in_steps(event["watch_seconds"]) for event in so_far if event["kind"] == "play")
            if not is_long and seconds >= in_steps(config.history.long_watch_seconds):
                is_long = True
                found.append((index, "long_watch", moment, Fraction(1)))
            mix = mix_of(so_far, config.satisfaction)
            if config.satisfaction.threshold == "graded":
                before, grade = grade, in_steps(max(mix, 0)) if mix < 1 else Fraction(1)
                if grade != before:
                    found.append((index, "satisfaction", moment, grade - before))
            elif not is_satisfied and mix >= Fraction(config.satisfaction.threshold) - Fraction(1, 10**9):
                is_satisfied = True
                found.append((index, "satisfaction", moment, Fraction(1)))
        clicks = [event["engaged_at"] for event in own if event["kind"] == "click"]
        if clicks:
            found.append((index, "click", min(clicks), Fraction(1)))
        for event in own:
            if event["kind"] == "play":
                found.append((index, "watch_seconds", event["engaged_at"], Fraction(event["watch_seconds"])))
        for measure in further_measures(config.history):
            found += further_facts(index, row, own, measure, config.history)
    return found


def cutoff(impressed_at, history, timezone, refresh_hours=None):
    known_at = impressed_at - round(history.delay_seconds * 1_000_000)
    refresh = round((history.refresh_hours if refresh_hours is None else refresh_hours) * HOUR_US)
    if not refresh:
        return known_at
    origin = 0 if (24 * HOUR_US) % refresh else first_minute_of_day(known_at, zoneinfo.ZoneInfo(timezone))
    while origin + refresh <= known_at and known_at - origin > 48 * HOUR_US:
        origin += refresh * ((known_at - origin) // refresh)
    while origin + refresh <= known_at:
        origin += refresh
    return origin


@functools.lru_cache(maxsize=4096)
def first_minute_of_day(at_us, zone):
    moment = EPOCH + datetime.timedelta(microseconds=at_us)
    day = moment.astimezone(zone).date()
    moment = moment.replace(second=0, microsecond=0)
    minutes = (moment - datetime.timedelta(minutes=back) for back in range(30 * 60))
    first = min(minute for minute in minutes if minute.astimezone(zone).date() == day)
    return (first - EPOCH) // datetime.timedelta(microseconds=1)


def window_us(window):
    return None if window == "all" else int(window[:-1]) * {"m": 60, "h": 3600, "d": 86400}[window[-1]] * 1_000_000


def aggregate(known, before, aggregate, history):
    """Numbers of one key from its facts (signal, at, amount), of any time."""
    numbers = []
    for window in aggregate.windows:
        width = window_us(window)
        inside = [fact for fact in known if fact[1] < before and (width is None or fact[1] >= before - width)]
        num_impressions = sum(signal == "impression" for signal, _, _ in inside)
        for measure in aggregate.measures:
            if measure == "impressions":
                numbers.append(float(num_impressions))
                continue
            amount = sum(in_steps(amount) for signal, _, amount in inside if signal == SIGNAL_BY_MEASURE.get(measure, measure))
            weight = Fraction(history.prior_impressions)
            prior = Fraction(history.prior.get(measure, 0.0))
            numbers.append(float((amount + prior * weight) / (num_impressions + weight)))
    return numbers


def sequence(known, before, sequence, rows):
    """Values, newest first, from a user's facts (row, signal, at, amount)."""
    first_by_row = {}
    for index, signal, at, amount in known:
        if signal == sequence.signal and amount > 0:
            first_by_row[index] = min(at, first_by_row.get(index, at))
    past = [(-at, rows[index][sequence.column]) for index, at in first_by_row.items() if at < before]
    return [value for _, value in sorted(pair for pair in past if pair[1] is not None)][: sequence.length]


def hours(from_us, to_us):
    return max(to_us // 1000 - from_us // 1000, 0) / 3_600_000


def published_us(text, timezone):
    """Of the few forms that the tests write: a day, or a time with Z."""
    try:
        if text.endswith("Z"):
            moment = datetime.datetime.fromisoformat(text[:-1] + "+00:00")
        else:
            moment = datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(timezone))
    except ValueError:
        return None
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def with_buckets(rows, config):
    return [{**row, **{name: bucket(row[one.column], one) for name, one in config.bucket_columns.items()}} for row in rows]


def bucket(value, definition):
    """How many edges a value has reached, both as floats of 32 bits."""
    if value is None or value != value:
        return None
    return str(sum(single(edge) <= single(value) for edge in definition.edges))


def single(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def features(rows, events, config):
    """By impression id, values by column."""
    history = config.history
    known = facts(rows, events, config)
    rows = with_buckets(rows, config)
    by_id = {}
    for row in rows:
        before = cutoff(row["impressed_at"], history, config.timezone)

        def of_key(names, row=row):
            key = [row[name] for name in names]
            if None in key:
                return []
            return [fact for fact in known if [rows[fact[0]][name] for name in names] == key]

        values = {}
        for one in history.aggregates:
            name = one.name or "_".join(part.removesuffix("_id") for part in one.key) + "_history"
            own = cutoff(row["impressed_at"], history, config.timezone, one.refresh_hours)
            values[name] = aggregate([fact[1:] for fact in of_key(one.key)], own, one, history)
        for one in history.sequences:
            own = cutoff(row["impressed_at"], history, config.timezone, one.refresh_hours)
            values[one.name] = sequence(of_key(["user_id"]), own, one, rows)
        if history.published_column is None:
            shown = [at for _, signal, at, _ in of_key(["item_id"]) if signal == "impression" and at < before]
            values["item_age_hours"] = hours(min(shown), row["impressed_at"]) if shown else None
        else:
            published = row[history.published_column] and published_us(row[history.published_column], config.timezone)
            values["item_age_hours"] = None if published is None else hours(published, row["impressed_at"])
        seen = [at for _, signal, at, _ in of_key(["user_id"]) if signal == "impression" and at < before]
        values["user_idle_hours"] = hours(max(seen), row["impressed_at"]) if seen else None
        by_id[row["impression_id"]] = values
    return by_id

package httpcache

import (
	"net/http"
	"strings"
	"time"
)

// dates are the three forms of an HTTP date (RFC 9110, 5.6.7).
var dates = []string{http.TimeFormat, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC}

// parseDate reads an HTTP date, in any case and in GMT only (RFC 9111, 4.2). What
// [http.ParseTime] takes beside these forms is invalid, and so expired: other zones, white
// space that does not belong there, hours of one digit, fractions of a second.
func parseDate(s string) (t time.Time, ok bool) {
	if before, zone := s[:max(len(s)-3, 0)], s[max(len(s)-3, 0):]; strings.EqualFold(zone, "GMT") {
		s = before + "GMT"
	}
	for _, form := range dates {
		t, err := time.Parse(form, s)
		if err == nil && strings.EqualFold(withoutDay(t.Format(form)), withoutDay(s)) {
			return t, true
		}
	}
	return time.Time{}, false
}

// withoutDay cuts off the day of the week, which says nothing that the date does not: a
// wrong one is let pass.
func withoutDay(date string) string {
	_, rest, _ := strings.Cut(date, " ")
	return rest
}

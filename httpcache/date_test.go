package httpcache

import (
	"testing"
	"time"
)

// TestDates: RFC 9111, 4.2; RFC 9110, 5.6.7: the three forms of a date, in any case; what
// is none of them is no date, and a response has expired by it.
func TestDates(t *testing.T) {
	want := time.Date(2050, 8, 8, 2, 1, 18, 0, time.UTC)
	for s, valid := range map[string]bool{
		"Mon, 08 Aug 2050 02:01:18 GMT":    true,
		"Monday, 08-Aug-50 02:01:18 GMT":   true,
		"Mon Aug  8 02:01:18 2050":         true,
		"MON, 08 AUG 2050 02:01:18 gmt":    true,
		"Tue, 08 Aug 2050 02:01:18 GMT":    true, // it is a Monday
		"Mon, 08 Aug 2050 2:01:18 GMT":     false,
		"Mon, 08  Aug  2050 02:01:18 GMT":  false,
		"Mon, 08 Aug 2050 02:01:18.5 GMT":  false,
		"Mon, 08 Aug 2050 02.01.18 GMT":    false,
		"Mon, 8 Aug 2050 02:01:18 GMT":     false,
		"Mon, 08 Aug 50 02:01:18 GMT":      false,
		"Mon, 08-Aug-2050 02:01:18 GMT":    false,
		"Mon 08 Aug 2050 02:01:18 GMT":     false,
		"Mon, 08 Aug 2050 02:01:18 UTC":    false,
		"Monday, 08-Aug-50 02:01:18 AEST":  false,
		"Monday, 08-Aug-50 02:01:18 UTC":   false,
		"Mon, 08 Aug 2050 02:01:18 +0000":  false,
		"Mon, 08 Aug 2050 02:01:18 GMT, x": false,
		"GMT":                              false,
		"0":                                false,
		"":                                 false,
	} {
		if got, ok := parseDate(s); ok != valid || valid && !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
		simulate(t, func(t *testing.T) {
			o := says("Expires: " + s)
			h := open(t, Config{}).Handler(time.Hour)(o)
			do(h, "/")
			do(h, "/")
			o.want(t, map[bool]int64{true: 1, false: 2}[valid])
		})
	}
}

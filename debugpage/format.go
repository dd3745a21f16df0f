package debugpage

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// span writes a duration with two or three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return seconds(d.Seconds())
}

// seconds writes less than minutes; what is not known, as all of these do, as a dash.
func seconds(s float64) string {
	switch {
	case math.IsNaN(s):
		return "–"
	case s == 0:
		return "0"
	case s >= 0.9995:
		return digits(s) + " s"
	case s >= 0.9995e-3:
		return digits(s*1e3) + " ms"
	}
	return digits(s*1e6) + " µs"
}

func percent(share float64) string {
	if math.IsNaN(share) {
		return "–"
	}
	p := math.Floor(share*1000) / 10 // only what is whole is 100
	return strconv.FormatFloat(p, 'f', -1, 64) + " %"
}

func amount(n float64) string {
	switch {
	case math.IsNaN(n):
		return "–"
	case n >= 999_500:
		return digits(n/1e6) + " M"
	case n >= 9_995:
		return digits(n/1e3) + " k"
	case n >= 10:
		return grouped(uint64(math.Round(n)))
	}
	return digits(n)
}

func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	}
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func byteSize(n float64) string {
	switch {
	case n >= 1<<30:
		return digits(n/(1<<30)) + " GiB"
	case n >= 1<<20:
		return digits(n/(1<<20)) + " MiB"
	case n >= 1<<10:
		return digits(n/(1<<10)) + " KiB"
	}
	return digits(n) + " B"
}

// shorten makes a text of others fit to be shown: not too long, and with nothing that
// does not print, or turns around what stands beside it.
func shorten(s string, limit int) string {
	cut := s
	if len(s) > limit {
		for cut = s[:limit]; cut != "" && !utf8.RuneStart(s[len(cut)]); {
			cut = cut[:len(cut)-1]
		}
	}
	shown := cut
	if strings.ContainsFunc(cut, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(cut) {
		shown = strconv.Quote(cut)
	}
	if len(cut) < len(s) {
		shown += fmt.Sprintf("… (%s bytes)", grouped(uint64(len(s))))
	}
	return shown
}

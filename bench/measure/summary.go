package measure

import (
	"fmt"

	"golang.org/x/perf/benchmath"
)

// Summary is the median of a sample with its confidence interval of 95 %.
type Summary struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Summarize assumes nothing of how values are distributed. With fewer than six
// there is no interval of 95 %; Low and High are then the least and the greatest.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sample := benchmath.NewSample(append([]float64(nil), values...), &benchmath.DefaultThresholds)
	if s := benchmath.AssumeNothing.Summary(sample, 0.95); len(values) >= 6 {
		return Summary{s.Center, s.Lo, s.Hi}
	} else {
		return Summary{s.Center, sample.Values[0], sample.Values[len(values)-1]}
	}
}

// Ratio summarizes the ratios of values to base, round by round. To a base of
// zero there is none.
func Ratio(values, base []float64) (Summary, bool) {
	if len(values) != len(base) || len(values) == 0 {
		return Summary{}, false
	}
	ratios := make([]float64, len(values))
	for i := range values {
		if base[i] == 0 {
			return Summary{}, false
		}
		ratios[i] = values[i] / base[i]
	}
	return Summarize(ratios), true
}

// Row is one line of a result: a contender in a scenario, in one unit.
type Row struct {
	Scenario   string    `json:"scenario"`
	Contender  string    `json:"contender"`
	Unit       string    `json:"unit"`
	Baseline   string    `json:"baseline"`
	Operations int       `json:"operations_per_turn"`
	Rounds     []float64 `json:"rounds"`
	Summary    Summary   `json:"summary"`
	Ratio      *Summary  `json:"ratio,omitempty"` // to the baseline
}

// Rows compares the series of a scenario with the baseline's.
func Rows(s Scenario, series []Series) ([]Row, error) {
	base := make(map[string][]float64)
	for _, one := range series {
		if one.Lane == s.Baseline {
			base[one.Unit] = one.Values
		}
	}
	if len(base) == 0 {
		return nil, fmt.Errorf("%s: the baseline %q took no part", s.Name, s.Baseline)
	}
	var rows []Row
	for _, one := range series {
		row := Row{Scenario: s.Name, Contender: one.Lane, Unit: one.Unit, Baseline: s.Baseline,
			Operations: one.Count, Rounds: one.Values, Summary: Summarize(one.Values)}
		if one.Unit != Nanoseconds && one.Unit != EntryBytes {
			rows = append(rows, row) // mostly small whole numbers, often none: they speak for themselves
			continue
		}
		if ratio, ok := Ratio(one.Values, base[one.Unit]); ok {
			row.Ratio = &ratio
		}
		rows = append(rows, row)
	}
	return rows, nil
}

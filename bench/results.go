package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nearcache/nearcache/bench/measure"
	"golang.org/x/perf/benchfmt"
)

// Results are everything that a run measured, as written to results.json.
type Results struct {
	Environment Environment   `json:"environment"`
	Titles      []Titled      `json:"scenarios"` // in the order of the questions
	Rows        []measure.Row `json:"rows"`
	HitRatios   []HitRatio    `json:"hit_ratios"`
	Fleet       []FleetPoint  `json:"fleet"`
	Fits        []Fit         `json:"fleet_fits"`
}

// Titled is a scenario's name and what it asks.
type Titled struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Environment is where and how a run measured.
type Environment struct {
	Date      string            `json:"date"`
	Go        string            `json:"go"`
	Platform  string            `json:"platform"`
	Processor string            `json:"processor"`
	Cores     int               `json:"cores"`
	Redis     string            `json:"redis"`
	Rounds    int               `json:"rounds"`
	Turn      string            `json:"turn"`
	Quick     bool              `json:"quick"`
	Versions  map[string]string `json:"versions"` // of the contenders' modules
}

func environment(redis string, o options) Environment {
	e := Environment{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Processor: processor(), Cores: runtime.GOMAXPROCS(0),
		Redis: redis, Rounds: o.rounds, Turn: o.turn.String(), Quick: o.quick, Versions: make(map[string]string),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			for _, name := range []string{"ristretto", "otter", "theine", "sturdyc", "go-redis", "rueidis", "valkey-go"} {
				if strings.Contains(m.Path, name) {
					e.Versions[m.Path] = m.Version
				}
			}
		}
	}
	return e
}

// processor returns the model as Linux tells it; "" elsewhere.
func processor() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(content), "model name")
	line, _, _ := strings.Cut(after, "\n")
	return strings.Trim(line, "\t :")
}

// write puts all files of the results into a directory.
func (r *Results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"results.json", r.writeJSON},
		{"bench.txt", r.writeBenchfmt},
		{"README.md", r.writeMarkdown},
	} {
		if err := create(filepath.Join(dir, file.name), file.write); err != nil {
			return err
		}
	}
	for _, c := range r.charts() {
		if err := create(filepath.Join(dir, c.file), c.draw); err != nil {
			return err
		}
	}
	return nil
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}

func (r *Results) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// writeBenchfmt writes each round as a line that benchstat reads: for instance
// "benchstat -col /contender bench.txt".
func (r *Results) writeBenchfmt(w io.Writer) error {
	type line struct {
		name  string
		round int
	}
	lines := make(map[line]*benchfmt.Result)
	var order []line
	for _, row := range r.Rows {
		name := camel(row.Scenario) + "/contender=" + strings.NewReplacer(", ", "_", " ", "_", "/", "_").Replace(row.Contender)
		for i, v := range row.Rounds {
			at := line{name, i}
			if lines[at] == nil {
				lines[at] = &benchfmt.Result{Name: benchfmt.Name(name), Iters: max(row.Operations, 1)}
				order = append(order, at)
			}
			if row.Unit == measure.Nanoseconds {
				lines[at].Values = append(lines[at].Values, benchfmt.Value{Value: v / 1e9, Unit: "sec/op", OrigValue: v, OrigUnit: row.Unit})
				continue
			}
			lines[at].Values = append(lines[at].Values, benchfmt.Value{Value: v, Unit: row.Unit})
		}
	}
	out := benchfmt.NewWriter(w)
	for i, at := range order {
		if i == 0 {
			for _, c := range [][2]string{{"goos", runtime.GOOS}, {"goarch", runtime.GOARCH}, {"pkg", modulePath}, {"cpu", r.Environment.Processor}} {
				lines[at].Config = append(lines[at].Config, benchfmt.Config{Key: c[0], Value: []byte(c[1]), File: true})
			}
		} else {
			lines[at].Config = lines[order[0]].Config
		}
		if err := out.Write(lines[at]); err != nil {
			return err
		}
	}
	return nil
}

// camel turns the first part of "l1-hit/serial" into "L1Hit", as benchmarks are
// called.
func camel(scenario string) string {
	first, rest, found := strings.Cut(scenario, "/")
	var out strings.Builder
	for word := range strings.SplitSeq(first, "-") {
		out.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	if found {
		out.WriteString("/" + rest)
	}
	return out.String()
}

const modulePath = "github.com/nearcache/nearcache/bench"

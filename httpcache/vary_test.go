package httpcache

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// TestVary: RFC 9111, 4.1.
func TestVary(t *testing.T) {
	for name, c := range map[string]struct {
		vary          []string
		first, second []string
		same          bool
	}{
		"equal":                     {[]string{"Foo"}, []string{"Foo: 1"}, []string{"Foo: 1"}, true},
		"different":                 {[]string{"Foo"}, []string{"Foo: 1"}, []string{"Foo: 2"}, false},
		"absent":                    {[]string{"Foo"}, []string{"Foo: 1"}, nil, false},
		"absent in both":            {[]string{"Foo"}, nil, nil, true},
		"empty is not absent":       {[]string{"Foo"}, []string{"Foo: "}, nil, false},
		"in any case":               {[]string{"fOO"}, []string{"Foo: 1"}, []string{"Foo: 2"}, false},
		"another field":             {[]string{"Foo"}, []string{"Foo: 1", "Bar: 1"}, []string{"Foo: 1", "Bar: 2"}, true},
		"two, both equal":           {[]string{"Foo, Bar"}, []string{"Foo: 1", "Bar: 2"}, []string{"Bar: 2", "Foo: 1"}, true},
		"two, one different":        {[]string{"Foo, Bar"}, []string{"Foo: 1", "Bar: 2"}, []string{"Foo: 1", "Bar: 3"}, false},
		"two, exchanged":            {[]string{"Foo, Bar"}, []string{"Foo: 1", "Bar: 2"}, []string{"Foo: 2", "Bar: 1"}, false},
		"in two lines":              {[]string{"Foo", "Bar"}, []string{"Foo: 1", "Bar: 2"}, []string{"Foo: 1", "Bar: 3"}, false},
		"* among others":            {[]string{"Foo, *"}, []string{"Foo: 1"}, []string{"Foo: 1"}, false},
		"* in another line":         {[]string{"Foo", "*"}, []string{"Foo: 1"}, []string{"Foo: 1"}, false},
		"* after nothing":           {[]string{", *"}, nil, nil, false},
		"white space around commas": {[]string{"Foo"}, []string{"Foo: 1, 2"}, []string{"Foo: 1 ,2"}, true},
		"white space in a value":    {[]string{"Foo"}, []string{"Foo: 1 2"}, []string{"Foo: 12"}, false},
		"white space in quotes":     {[]string{"Foo"}, []string{`Foo: "1, 2"`}, []string{`Foo: "1,2"`}, false},
		"lines are a list":          {[]string{"Foo"}, []string{"Foo: 1", "Foo: 2"}, []string{"Foo: 1, 2"}, true},
		"another order of a list":   {[]string{"Foo"}, []string{"Foo: 1, 2"}, []string{"Foo: 2, 1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := &origin{serve: func(w http.ResponseWriter, _ *http.Request, _ int64) { w.Header()["Vary"] = c.vary }}
				h := open(t, Config{}).Handler(time.Hour)(o)
				do(h, "/", c.first...)
				do(h, "/", c.second...)
				o.want(t, map[bool]int64{true: 1, false: 2}[c.same])
			})
		})
	}
}

// TestVariantsLiveBesideEachOther: each is loaded once, and all go with their resource.
func TestVariantsLiveBesideEachOther(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
			w.Header().Set("Vary", "Accept-Language")
			_, _ = io.WriteString(w, r.Header.Get("Accept-Language"))
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		languages := []string{"de", "en", "fr"}
		for range 3 {
			for _, l := range languages {
				want(t, do(h, "/", "Accept-Language: "+l), 200, l)
			}
		}
		o.want(t, 3)
		do(h, "POST /")
		for _, l := range languages {
			want(t, do(h, "/", "Accept-Language: "+l), 200, l)
		}
		o.want(t, 7)
	})
}

// TestVaryIsLearned: a resource that varies on one field today and on another tomorrow is
// told apart by both from then on.
func TestVaryIsLearned(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
			w.Header().Set("Vary", "A")
			if r.Header.Get("A") == "2" {
				w.Header().Set("Vary", "B")
			}
			_, _ = io.WriteString(w, r.Header.Get("A")+r.Header.Get("B"))
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		ask := func(a, b string) { t.Helper(); want(t, do(h, "/", "A: "+a, "B: "+b), 200, a+b) }
		ask("1", "x")
		ask("2", "x") // learns of B
		ask("2", "y")
		ask("2", "x")
		calls := o.calls.Load()
		for range 3 {
			ask("1", "x")
			ask("2", "x")
			ask("2", "y")
		}
		if n := o.calls.Load() - calls; n > 1 {
			t.Fatalf("%d calls for variants that are known but for one", n)
		}
	})
}

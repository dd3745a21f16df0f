package nearcache_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nearcache/nearcache"

// TestImportsPointDownward: what each package may import of this module.
func TestImportsPointDownward(t *testing.T) {
	allowed := map[string][]string{
		"":               {"codec", "invalidation", "l1", "l2", "tiered", "internal/guard"},
		"tiered":         {"codec", "invalidation", "l1", "l2", "internal/guard"},
		"invalidation":   {"l2", "internal/guard"},
		"l2":             {"internal/guard"},
		"l1":             {},
		"codec":          {},
		"internal/guard": {},
		"memoize":        {"", "codec", "invalidation", "l1", "l2", "tiered", "internal/guard"}, // by the door only: see below
		// A test package from outside, as net/http/httptest is: it may use the door.
		"httpcache":         {"", "codec", "invalidation", "l1", "l2", "tiered", "internal/guard"},
		"debugpage":         {"", "codec", "invalidation", "l1", "l2", "tiered", "internal/guard"},
		"tiered/tieredtest": {"", "codec", "invalidation", "l1", "l2", "tiered", "internal/guard"},
	}
	for name, want := range allowed {
		path := strings.TrimSuffix(module+"/"+name, "/")
		out, err := exec.Command("go", "list", "-deps", path).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", path, err)
		}
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			ours, ok := strings.CutPrefix(dep+"/", module+"/")
			ours = strings.TrimSuffix(ours, "/")
			if ok && dep != path && !slices.Contains(want, ours) {
				t.Errorf("%s imports %s", path, ours)
			}
		}
	}
}

// TestMemoizeUsesTheDoor and nothing behind it.
func TestMemoizeUsesTheDoor(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, module+"/memoize").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if path != module && strings.Contains(path, ".") {
			t.Errorf("memoize imports %s", path)
		}
	}
}

// TestCoreDependsOnLittle: a user's module graph holds these and little else.
func TestCoreDependsOnLittle(t *testing.T) {
	known := []string{
		"github.com/dgraph-io/ristretto/v2", "github.com/dustin/go-humanize", "github.com/cespare/xxhash/v2",
		"github.com/redis/go-redis/v9", "go.uber.org/atomic", "golang.org/x/sync", "golang.org/x/sys",
		"github.com/vmihailenco/msgpack/v5", "github.com/vmihailenco/tagparser/v2",
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	for m := range strings.FieldsSeq(string(out)) {
		if m != module && !slices.Contains(known, m) {
			t.Errorf("the core depends on %s", m)
		}
	}
}

// budget of the names that the root package exports: the face stays small.
const budget = 48

// TestFaceStaysSmall also demands a comment on every exported name.
func TestFaceStaysSmall(t *testing.T) {
	files := token.NewFileSet()
	var sources []*ast.File
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, f)
	}
	p, err := doc.NewFromFiles(files, sources, module)
	if err != nil {
		t.Fatal(err)
	}
	names = nil
	count := func(name, comment string, exported bool) {
		if exported {
			names = append(names, name)
			if comment == "" {
				t.Errorf("%s has no comment", name)
			}
		}
	}
	for _, typ := range p.Types {
		count(typ.Name, typ.Doc, true)
		for _, v := range typ.Consts {
			names = append(names, v.Names...)
		}
		for _, f := range typ.Funcs {
			count(f.Name, f.Doc, true)
		}
		for _, m := range typ.Methods {
			count(typ.Name+"."+m.Name, m.Doc, m.Name != "Error" && m.Name != "Unwrap" && m.Name != "String")
		}
	}
	for _, f := range p.Funcs {
		count(f.Name, f.Doc, true)
	}
	for _, group := range [][]*doc.Value{p.Vars, p.Consts} {
		for _, v := range group {
			names = append(names, v.Names...)
		}
	}
	if len(names) > budget {
		t.Errorf("%d exported names, budget %d: %s", len(names), budget, strings.Join(names, " "))
	}
	t.Logf("%d exported names: %s", len(names), strings.Join(names, " "))
}

// TestSnippetsCompile: every Go snippet of the documents is part of a compiled
// example of some package.
func TestSnippetsCompile(t *testing.T) {
	lines := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" {
				out.WriteString(line + "\n")
			}
		}
		return out.String()
	}
	var examples string
	for _, file := range []string{
		"example_test.go", "memoize/example_test.go", "httpcache/example_test.go", "codec/s2/example_test.go", "debugpage/example_test.go",
		"otelnearcache/example_test.go", "promnearcache/example_test.go",
	} {
		examples += lines(file)
	}
	documents, _ := filepath.Glob("docs/*.md")
	for _, file := range append(documents, "README.md") {
		for i, block := range strings.Split(lines(file), "```go\n")[1:] {
			snippet, _, _ := strings.Cut(block, "```")
			if !strings.Contains(examples, snippet) {
				t.Errorf("%s: Go snippet %d is in no example:\n%s", file, i+1, snippet)
			}
		}
	}
}

// TestEveryFailureHasATest: the failure table names tests that exist, and every
// test of a fault is in it.
func TestEveryFailureHasATest(t *testing.T) {
	guide, err := os.ReadFile("docs/coherence.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	files, _ := filepath.Glob("fault_*_test.go")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	test := regexp.MustCompile(`TestFault\w+`)
	named := test.FindAllString(string(guide), -1)
	written := test.FindAllString(code.String(), -1)
	if len(named) == 0 {
		t.Fatal("the table names no test")
	}
	for _, name := range named {
		if !strings.Contains(code.String(), "func "+name+"(") {
			t.Errorf("%s is in the table only", name)
		}
	}
	for _, name := range written {
		if !slices.Contains(named, name) {
			t.Errorf("%s is missing in the table", name)
		}
	}
}

// TestEveryEventIsExplained: the guide says of each what it means, at the level of its line.
func TestEveryEventIsExplained(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	code, guide, hooks := read("tiered/events.go"), read("docs/observability.md"), read("hooks.go")
	events := regexp.MustCompile(`(Event\w+) += "(.*)"`).FindAllStringSubmatch(code, -1)
	if len(events) == 0 {
		t.Fatal("there are no events")
	}
	for _, event := range events {
		level := regexp.MustCompile(event[1] + `: +\{slog\.Level(\w+),`).FindStringSubmatch(code)
		if level == nil {
			t.Fatalf("%s is never logged", event[1])
		}
		if row := "\n| `" + event[2] + "` | " + strings.ToLower(level[1]) + " | "; !strings.Contains(guide, row) {
			t.Errorf("docs/observability.md has no row that begins with %s", strings.TrimSpace(row))
		}
		if !strings.Contains(hooks, `"`+event[2]+`"`) {
			t.Errorf("hooks.go does not tell of %q", event[2])
		}
	}
}

// TestEveryHTTPRuleHasATest: the tables of docs/http.md name tests that exist.
func TestEveryHTTPRuleHasATest(t *testing.T) {
	guide, err := os.ReadFile("docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	files, _ := filepath.Glob("httpcache/*_test.go")
	browser, _ := filepath.Glob("browsertest/httpcache*_test.go")
	for _, file := range append(files, browser...) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	rows := 0
	for line := range strings.Lines(string(guide)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.Contains(line, "| rule |") {
			continue
		}
		rows++
		names := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("a rule without a test: %s", line)
		}
		for _, name := range names {
			if !strings.Contains(code.String(), "func "+name[1]+"(t *testing.T)") {
				t.Errorf("%s is in the table only", name[1])
			}
		}
	}
	if rows == 0 {
		t.Fatal("there is no table")
	}
}

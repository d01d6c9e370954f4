package repository_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	markdown "github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// page is what a Markdown file links to and what can be linked to in it.
type page struct {
	links   []string
	anchors map[string]bool
	unknown []string // references that are not defined
}

var (
	htmlLink   = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]*)"`)
	htmlAnchor = regexp.MustCompile(`\b(?:id|name)="([^"]*)"`)
	reference  = regexp.MustCompile(`\[[^\]\[]+\]\[[^\]\[]*\]`)
)

func readPage(source []byte) page {
	p := page{anchors: map[string]bool{}}
	slugs := slugger{}
	html := func(raw string) {
		for _, m := range htmlLink.FindAllStringSubmatch(raw, -1) {
			p.links = append(p.links, m[1])
		}
		for _, m := range htmlAnchor.FindAllStringSubmatch(raw, -1) {
			p.anchors[m[1]] = true
		}
	}
	document := goldmark.New(goldmark.WithExtensions(extension.GFM)).
		Parser().
		Parse(text.NewReader(source))
	_ = markdown.Walk(document, func(n markdown.Node, entering bool) (markdown.WalkStatus, error) {
		if !entering {
			return markdown.WalkContinue, nil
		}
		switch n := n.(type) {
		case *markdown.Link:
			p.links = append(p.links, string(n.Destination))
		case *markdown.Image:
			p.links = append(p.links, string(n.Destination))
		case *markdown.AutoLink:
			p.links = append(p.links, string(n.URL(source)))
		case *markdown.Heading:
			p.anchors[slugs.slug(plain(n, source))] = true
		case *markdown.RawHTML:
			html(string(n.Segments.Value(source)))
		case *markdown.HTMLBlock:
			html(string(n.Lines().Value(source)))
		case *markdown.Paragraph, *markdown.TextBlock:
			p.unknown = append(p.unknown, reference.FindAllString(plainText(n, source), -1)...)
		}
		return markdown.WalkContinue, nil
	})
	return p
}

// plain is a heading's text as GitHub renders it, code included.
func plain(n markdown.Node, source []byte) string {
	var b bytes.Buffer
	_ = markdown.Walk(n, func(n markdown.Node, entering bool) (markdown.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *markdown.Text:
				b.Write(n.Segment.Value(source))
			case *markdown.String:
				b.Write(n.Value)
			}
		}
		return markdown.WalkContinue, nil
	})
	return b.String()
}

// plainText is a paragraph's text without code and without what is inside links.
func plainText(n markdown.Node, source []byte) string {
	var b bytes.Buffer
	_ = markdown.Walk(n, func(n markdown.Node, entering bool) (markdown.WalkStatus, error) {
		switch n := n.(type) {
		case *markdown.CodeSpan, *markdown.Link, *markdown.Image:
			return markdown.WalkSkipChildren, nil
		case *markdown.Text:
			if entering {
				b.Write(n.Segment.Value(source))
				if n.SoftLineBreak() {
					b.WriteByte(' ')
				}
			}
		}
		return markdown.WalkContinue, nil
	})
	return b.String()
}

// slugger makes anchors of headings by GitHub's rules: lower case, letters, digits, underscores and
// hyphens only, spaces as hyphens, and a number after one that is there already.
type slugger map[string]int

func (s slugger) slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
			b.WriteRune(r)
		}
	}
	slug := b.String()
	original := slug
	for {
		if _, taken := s[slug]; !taken {
			break
		}
		s[original]++
		slug = fmt.Sprintf("%s-%d", original, s[original])
	}
	s[slug] = 0
	return slug
}

// brokenLinks checks the links of every page that stay in the repository or lead to the pkg.go.dev
// pages of its packages. It opens no connection.
func brokenLinks(t *testing.T, r tree) (broken []string, checked int) {
	t.Helper()
	pages := map[string]page{}
	for _, file := range r.with("*.md") {
		pages[file] = readPage([]byte(r.read(t, file)))
	}
	packages := map[string]map[string]bool{}
	for _, file := range r.with("*.md") {
		for _, ref := range pages[file].unknown {
			broken = append(broken, file+": "+ref+" is not defined")
		}
		for _, link := range pages[file].links {
			why := ""
			switch u, err := url.Parse(link); {
			case err != nil:
				why = err.Error()
			case u.Host == "pkg.go.dev":
				why = checkPackage(r, packages, u)
			case u.Host == "github.com" && strings.HasPrefix(u.Path, "/"+repositoryName+"/blob/"):
				why = "a link into this repository must be relative"
			case u.Scheme != "" || u.Host != "":
				continue
			default:
				why = checkRelative(t, r, pages, file, u)
			}
			checked++
			if why != "" {
				broken = append(broken, file+": "+link+": "+why)
			}
		}
	}
	return broken, checked
}

var repositoryName = strings.TrimPrefix(module, "github.com/")

func checkRelative(t *testing.T, r tree, pages map[string]page, from string, u *url.URL) string {
	t.Helper()
	to := from
	if strings.HasPrefix(u.Path, "/") {
		to = path.Clean(strings.TrimPrefix(u.Path, "/"))
	} else if u.Path != "" {
		to = path.Join(path.Dir(from), u.Path)
	}
	if !fs.ValidPath(to) || !r.has(to) {
		return "no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	if p, ok := pages[to]; ok {
		if !p.anchors[u.Fragment] {
			return "no such heading"
		}
		return ""
	}
	if m := regexp.MustCompile(`^L(\d+)(?:-L\d+)?$`).FindStringSubmatch(u.Fragment); m != nil {
		return "a line number goes stale with the next edit"
	}
	return "an anchor in a file that is no page"
}

// checkPackage checks a link to the documentation of one of this module's packages.
func checkPackage(r tree, packages map[string]map[string]bool, u *url.URL) string {
	at, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "@")
	dir := "."
	if at != module {
		var ours bool
		if dir, ours = strings.CutPrefix(at, module+"/"); !ours {
			return ""
		}
	}
	anchors, ok := packages[dir]
	if !ok {
		anchors = packageAnchors(r, dir)
		packages[dir] = anchors
	}
	switch {
	case anchors == nil:
		return "no such package"
	case u.Fragment == "", anchors[u.Fragment]:
	case strings.HasPrefix(u.Fragment, "section-"), strings.HasPrefix(u.Fragment, "pkg-"):
	default:
		return "no such name in the package"
	}
	return ""
}

// packageAnchors are the names that pkg.go.dev has anchors for.
func packageAnchors(r tree, dir string) map[string]bool {
	set := token.NewFileSet()
	var files []*ast.File
	for _, file := range r.files {
		if path.Dir(file) != dir || path.Ext(file) != ".go" {
			continue
		}
		source, err := fs.ReadFile(r.fsys, file)
		if err != nil {
			continue
		}
		if f, err := parser.ParseFile(set, file, source, parser.ParseComments); err == nil {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil
	}
	p, err := doc.NewFromFiles(set, files, path.Join(module, dir))
	if err != nil {
		return nil
	}
	anchors := map[string]bool{}
	values := func(vs []*doc.Value) {
		for _, v := range vs {
			for _, name := range v.Names {
				anchors[name] = true
			}
		}
	}
	functions := func(prefix string, fs []*doc.Func) {
		for _, f := range fs {
			anchors[prefix+f.Name] = true
		}
	}
	values(p.Consts)
	values(p.Vars)
	functions("", p.Funcs)
	for _, typ := range p.Types {
		anchors[typ.Name] = true
		values(typ.Consts)
		values(typ.Vars)
		functions("", typ.Funcs)
		functions(typ.Name+".", typ.Methods)
		for _, spec := range typ.Decl.Specs {
			if s, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					for _, name := range field.Names {
						anchors[typ.Name+"."+name.Name] = true
					}
				}
			}
		}
	}
	for _, e := range doc.Examples(files...) {
		anchors["example-"+strings.ReplaceAll(e.Name, "_", "-")] = true
		anchors["example-package"] = anchors["example-package"] || e.Name == ""
	}
	return anchors
}

func TestLink(t *testing.T) {
	t.Run("in_Markdown_leads_somewhere", func(t *testing.T) {
		broken, checked := brokenLinks(t, repository(t))
		for _, b := range broken {
			t.Error(b)
		}
		require.Greater(t, checked, 100)
	})
	t.Run("in_a_Go_comment_leads_to_a_package", func(t *testing.T) {
		r := repository(t)
		packages := map[string]map[string]bool{}
		links := regexp.MustCompile(`https://pkg\.go\.dev/` + regexp.QuoteMeta(module) + `[\w./@#-]*`)
		found := 0
		for _, file := range append(r.with("*.go"), r.with("*.h")...) {
			if strings.HasPrefix(file, "internal/test/repository/") {
				continue
			}
			for _, link := range links.FindAllString(r.read(t, file), -1) {
				u, err := url.Parse(strings.TrimRight(link, ".#"))
				require.NoError(t, err)
				found++
				if why := checkPackage(r, packages, u); why != "" {
					t.Errorf("%s: %s: %s", file, link, why)
				}
			}
		}
		require.NotZero(t, found)
	})
	t.Run("that_leads_nowhere_is_found", func(t *testing.T) {
		files := fstest.MapFS{
			"go.mod": {Data: []byte("module " + module + "\n")},
			"a.md": {Data: []byte("# One `two`_three: *four*!\n\n# Same\n\n# Same\n\n" +
				"[ok](#one-two_three-four) [ok](#same-1) [ok](b/) [ok](b/c.md#x) [ok](/b/c.md) " +
				"<https://example.com/x>\n" +
				"[gone](#same-2) [gone](d.md) [gone](b/c.md#y) [ref] [gone][ref] " +
				"![gone](e.png) [out](../x.md)\n" +
				"`[no][link]` [lines](p/p.go#L10) [an undefined][reference]\n\n" +
				"<a id=\"own\"></a><img src=\"f.svg\"> [ok](#own)\n\n" +
				"| [gone in a table](g.md) |\n|---|\n\n[ref]: h.md\n\n    [code](i.md)\n")},
			"b/c.md": {Data: []byte("X\n=\n\n" +
				"[ok](https://pkg.go.dev/" + module + "/p#T.M)\n" +
				"[ok](https://pkg.go.dev/" + module + "/p@v1#F.Field)\n" +
				"[gone](https://pkg.go.dev/" + module + "/p#T.N)\n" +
				"[gone](https://pkg.go.dev/" + module + "/q)\n" +
				"[other](https://pkg.go.dev/sync#Mutex)\n" +
				"https://github.com/" + repositoryName + "/blob/main/go.mod\n")},
			"p/p.go": {
				Data: []byte("package p\n\ntype T int\n\nfunc (T) M() {}\n\ntype F struct{ Field int }\n"),
			},
		}
		broken, _ := brokenLinks(t, readTree(t, files))
		require.Equal(t, []string{
			"a.md: [an undefined][reference] is not defined",
			"a.md: #same-2: no such heading",
			"a.md: d.md: no such file",
			"a.md: b/c.md#y: no such heading",
			"a.md: h.md: no such file", // [ref]
			"a.md: h.md: no such file",
			"a.md: e.png: no such file",
			"a.md: ../x.md: no such file",
			"a.md: p/p.go#L10: a line number goes stale with the next edit",
			"a.md: f.svg: no such file",
			"a.md: g.md: no such file",
			"b/c.md: https://pkg.go.dev/" + module + "/p#T.N: no such name in the package",
			"b/c.md: https://pkg.go.dev/" + module + "/q: no such package",
			"b/c.md: https://github.com/" + repositoryName + "/blob/main/go.mod: " +
				"a link into this repository must be relative",
		}, broken)
	})
}

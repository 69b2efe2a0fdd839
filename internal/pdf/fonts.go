package pdf

import (
	"bytes"
	_ "embed" // the font
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/language"
)

//go:embed fonts/NotoSans-Subset.ttf
var embedded []byte

// FontDirs are where systems have their fonts.
var FontDirs = []string{"/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts"}

// cjk has the glyphs of Chinese, Japanese and Korean in one file.
const cjk = "NotoSansCJK-Regular.ttc"

// scripts are the files in which Noto has the scripts that the embedded font
// lacks, as Debian's fonts-noto-core and fonts-noto-cjk name them.
var scripts = map[language.Script]string{
	language.Latin: "NotoSans-Regular.ttf", language.Greek: "NotoSans-Regular.ttf", language.Cyrillic: "NotoSans-Regular.ttf",
	language.Arabic: "NotoSansArabic-Regular.ttf", language.Hebrew: "NotoSansHebrew-Regular.ttf", language.Syriac: "NotoSansSyriac-Regular.ttf",
	language.Thaana: "NotoSansThaana-Regular.ttf", language.Nko: "NotoSansNKo-Regular.ttf", language.Adlam: "NotoSansAdlam-Regular.ttf",
	language.Devanagari: "NotoSansDevanagari-Regular.ttf", language.Bengali: "NotoSansBengali-Regular.ttf",
	language.Gurmukhi: "NotoSansGurmukhi-Regular.ttf", language.Gujarati: "NotoSansGujarati-Regular.ttf",
	language.Oriya: "NotoSansOriya-Regular.ttf", language.Tamil: "NotoSansTamil-Regular.ttf", language.Telugu: "NotoSansTelugu-Regular.ttf",
	language.Kannada: "NotoSansKannada-Regular.ttf", language.Malayalam: "NotoSansMalayalam-Regular.ttf",
	language.Sinhala: "NotoSansSinhala-Regular.ttf", language.Ol_Chiki: "NotoSansOlChiki-Regular.ttf", language.Meetei_Mayek: "NotoSansMeeteiMayek-Regular.ttf",
	language.Thai: "NotoSansThai-Regular.ttf", language.Lao: "NotoSansLao-Regular.ttf", language.Khmer: "NotoSansKhmer-Regular.ttf",
	language.Myanmar: "NotoSansMyanmar-Regular.ttf", language.Tibetan: "NotoSerifTibetan-Regular.ttf", language.Mongolian: "NotoSansMongolian-Regular.ttf",
	language.Javanese: "NotoSansJavanese-Regular.ttf", language.Balinese: "NotoSansBalinese-Regular.ttf",
	language.Georgian: "NotoSansGeorgian-Regular.ttf", language.Armenian: "NotoSansArmenian-Regular.ttf",
	language.Ethiopic: "NotoSansEthiopic-Regular.ttf", language.Cherokee: "NotoSansCherokee-Regular.ttf",
	language.Canadian_Aboriginal: "NotoSansCanadianAboriginal-Regular.ttf", language.Tifinagh: "NotoSansTifinagh-Regular.ttf",
	language.Han: cjk, language.Hiragana: cjk, language.Katakana: cjk, language.Hangul: cjk, language.Bopomofo: cjk,
}

// symbols are files with what belongs to no script, most usual first.
var symbols = []string{"NotoSans-Regular.ttf", "NotoSansSymbols-Regular.ttf", "NotoSansSymbols2-Regular.ttf", "NotoSansMath-Regular.ttf"}

// MissingFontError is returned for a text in a script that no font here has.
type MissingFontError struct {
	Script  string // its ISO 15924 name, such as "Deva"
	Package string // of Debian, which has it
}

func (e *MissingFontError) Error() string {
	return fmt.Sprintf("pdf: no font here has the script %s; Debian's package %s has one", e.Script, e.Package)
}

// Fonts finds a font for each character: the embedded one for Latin, Greek and
// Cyrillic, and those of the system for the others. It may be used by many at
// once; a file is read when it is needed for the first time, and kept.
type Fonts struct {
	files  map[string]string // paths by names of files
	mu     sync.Mutex
	loaded map[loadedKey]*font.Font // nil for what can't be read
}

type loadedKey struct {
	file  string
	index int
}

// FindFonts looks which fonts the folders have. Folders that are not there have
// none.
func FindFonts(dirs ...string) (*Fonts, error) {
	own, err := load(bytes.NewReader(embedded), 0)
	if err != nil {
		return nil, fmt.Errorf("pdf: the embedded font: %w", err)
	}
	f := &Fonts{files: map[string]string{}, loaded: map[loadedKey]*font.Font{{}: own}}
	known := slices.Concat(slices.Collect(maps.Values(scripts)), symbols)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fs.SkipDir // a folder that can't be read has no fonts
			}
			if name := filepath.Base(path); !d.IsDir() && f.files[name] == "" && slices.Contains(known, name) {
				f.files[name] = path
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("pdf: fonts of %s: %w", dir, err)
		}
	}
	return f, nil
}

// Missing returns the packages of Debian that have the fonts which are not here.
func (f *Fonts) Missing() []string {
	packages := map[string]bool{}
	for _, name := range scripts {
		if f.files[name] == "" {
			packages[packageOf(name)] = true
		}
	}
	return slices.Sorted(maps.Keys(packages))
}

func packageOf(name string) string {
	if name == cjk {
		return "fonts-noto-cjk"
	}
	return "fonts-noto-core"
}

func load(r opentype.Resource, index int) (*font.Font, error) {
	loaders, err := opentype.NewLoaders(r)
	if err != nil {
		return nil, err
	}
	return font.NewFont(loaders[min(index, len(loaders)-1)])
}

// font returns the font of a file, nil when it is not here or is damaged.
func (f *Fonts) font(name string, index int) *font.Font {
	key := loadedKey{name, index}
	f.mu.Lock()
	defer f.mu.Unlock()
	if have, ok := f.loaded[key]; ok {
		return have
	}
	var found *font.Font
	if path := f.files[name]; path != "" {
		if file, err := os.Open(path); err == nil { //nolint:gosec // the operator's folders of fonts
			if found, err = load(file, index); err != nil {
				found = nil
			}
			_ = file.Close() // it was read only
		}
	}
	f.loaded[key] = found
	return found
}

// faces gives the characters of one document their fonts. It is for one
// goroutine.
type faces struct {
	fonts  *Fonts
	index  int // of the language in collections
	script language.Script
	open   map[loadedKey]*font.Face
}

func (f *Fonts) faces(lang string) *faces {
	return &faces{fonts: f, index: cjkIndex(lang), open: map[loadedKey]*font.Face{}}
}

// cjkIndex is where the collection has the forms of a language: Japanese, Korean,
// and Chinese as it is written in China, Taiwan and Hong Kong.
func cjkIndex(lang string) int {
	lang = strings.ToLower(lang)
	switch primary, rest, _ := strings.Cut(lang, "-"); {
	case primary == "ko":
		return 1
	case primary == "yue", primary == "zh" && strings.Contains(rest, "hk"):
		return 4
	case primary == "zh" && (strings.Contains(rest, "hant") || strings.Contains(rest, "tw")):
		return 3
	case primary == "zh":
		return 2
	default:
		return 0
	}
}

// SetScript implements [shaping.FontmapScript].
func (f *faces) SetScript(s language.Script) { f.script = s }

// ResolveFace implements [shaping.Fontmap].
func (f *faces) ResolveFace(r rune) *font.Face {
	if face := f.find(r, f.script); face != nil {
		return face
	}
	return f.face("", 0)
}

// find returns the face for a character in a text of the script, nil when there
// is none.
func (f *faces) find(r rune, script language.Script) *font.Face {
	own := language.LookupScript(r)
	if own != language.Common && own != language.Inherited && own != language.Unknown {
		script = own
	}
	candidates := make([]string, 0, 2+len(symbols))
	if name := scripts[script]; name != "" && script != language.Latin && script != language.Greek && script != language.Cyrillic {
		candidates = append(candidates, name)
	}
	candidates = append(append(candidates, ""), symbols...) // "" is the embedded one
	for _, name := range candidates {
		index := 0
		if name == cjk {
			index = f.index
		}
		if face := f.face(name, index); face != nil {
			if _, ok := face.NominalGlyph(r); ok {
				return face
			}
		}
	}
	return nil
}

func (f *faces) face(name string, index int) *font.Face {
	key := loadedKey{name, index}
	if have, ok := f.open[key]; ok {
		return have
	}
	var face *font.Face
	if shared := f.fonts.font(name, index); shared != nil {
		face = font.NewFace(shared)
	}
	f.open[key] = face
	return face
}

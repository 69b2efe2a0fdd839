package story_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"
	"time"
)

// TestQuestionMedia: who takes a quiz fetches the picture of its question, which is of
// another course's bank, and nobody else does; nor they, once they may not see it.
func TestQuestionMedia(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, student, other, outsider := in.signUp(t, "Picture Teacher"), in.signUp(t, "Picture Student"), in.signUp(t, "Other Student"), in.signUp(t, "Some Outsider")
		bank, _ := draft(t, teacher, "A Bank of Pictures")
		course, _ := draft(t, teacher, "Statues of the Stoa")
		path := "/v1/courses/" + course
		picture := image.NewNRGBA(image.Rect(0, 0, 40, 30))
		picture.Set(3, 3, color.NRGBA{200, 10, 10, 255})
		var b bytes.Buffer
		if err := png.Encode(&b, picture); err != nil {
			t.Fatal(err)
		}
		m := teacher.do(t, 201, "POST", "/v1/courses/"+bank+"/media?filename=zeno.png", b.Bytes()).text("id")
		why := teacher.do(t, 201, "POST", "/v1/courses/"+bank+"/media?filename=why.csv", []byte("a,b\n1,2\n")).text("id")
		for _, mediaID := range []string{m, why} {
			mediaReady(t, teacher, bank, mediaID)
		}
		question := teacher.do(t, 201, "POST", "/v1/courses/"+bank+"/questions", map[string]any{"content": map[string]any{
			"title": "Zeno", "prompt": "Is this Zeno? ![A bust](media:" + m + ")", "general_feedback": "[His life](media:" + why + ")", "true_false": map[string]any{"right": true},
		}}).text("id")
		teacher.do(t, 409, "DELETE", "/v1/courses/"+bank+"/media/"+m+"?permanently=true", nil)
		teacher.do(t, 200, "POST", "/v1/courses/"+bank+"/question-bank/shares", map[string]any{"with_course_id": course})
		settings := func(review map[string]any) map[string]any {
			return map[string]any{"review": review, "sections": []any{map[string]any{"slots": []any{map[string]any{"question": map[string]any{"question_id": question}}}}}}
		}
		quiz := teacher.do(t, 201, "POST", path+"/quizzes", map[string]any{"title": "Busts", "settings": settings(map[string]any{"after": map[string]any{"attempt": true, "general_feedback": true}, "later": map[string]any{"attempt": true, "general_feedback": true}})}).text("id")
		teacher.do(t, 200, "POST", path+"/quizzes/"+quiz+"/publish", map[string]any{})
		module := teacher.do(t, 201, "POST", path+"/modules", map[string]any{"title": "Busts"}).text("id")
		item := teacher.do(t, 201, "POST", path+"/activities", map[string]any{"kind": "quiz", "module_id": module, "title": "Busts", "activity_ref": quiz}).text("id")
		publish(t, teacher, course, 4900)
		entitlements := map[*person]string{}
		for _, p := range []*person{student, other} {
			entitlements[p] = teacher.do(t, 201, "POST", path+"/entitlements", map[string]any{"account_id": p.account, "reason": "A guest"}).text("id")
			p.sees(t, soon, "the quiz is open", path+"/my-quizzes/"+item, func(a answer) bool { return a.status == 200 && a.at("can_start") == true })
		}
		attempt := "/v1/attempts/" + student.do(t, 200, "POST", path+"/items/"+item+"/attempts", map[string]any{}).text("id")
		seen := student.do(t, 200, "GET", attempt+"/media", nil)
		if len(seen.items()) != 1 || seen.text("items.0.id") != m || seen.text("items.0.filename") != "" {
			t.Fatalf("what the attempt shows: %s", seen)
		}
		nobody, address := in.nobody(), seen.text("items.0.url")
		if a := nobody.do(t, 200, "GET", address, nil); !bytes.HasPrefix(a.body, []byte("\x89PNG")) {
			t.Errorf("the picture is %q", a.body[:min(len(a.body), 20)])
		}
		other.do(t, 404, "GET", attempt+"/media", nil)
		outsider.do(t, 404, "GET", attempt+"/media", nil)
		nobody.do(t, 401, "GET", attempt+"/media", nil)
		other.do(t, 403, "GET", path+"/questions/"+question+"/media", nil)
		outsider.do(t, 404, "GET", "/v1/courses/"+bank+"/questions/"+question+"/media", nil)
		student.do(t, 404, "GET", "/v1/media/"+m+"/content", nil)
		if a := teacher.do(t, 200, "GET", path+"/questions/"+question+"/media", nil); len(a.items()) != 2 {
			t.Errorf("the teacher sees %s", a)
		}

		// The file of its feedback comes with the review, and goes with it.
		student.do(t, 200, "POST", attempt+"/submit", map[string]any{})
		review := student.sees(t, soon, "the file of the feedback", attempt+"/media", func(a answer) bool { return len(a.items()) == 2 })
		for _, it := range review.items() {
			nobody.do(t, 200, "GET", it.text("url"), nil)
		}
		teacher.do(t, 200, "GET", path+"/attempts/"+attempt[len("/v1/attempts/"):]+"/media", nil)
		etag := teacher.do(t, 200, "GET", path+"/quizzes/"+quiz, nil).header.Get("ETag")
		etag = teacher.do(t, 200, "PATCH", path+"/quizzes/"+quiz, map[string]any{"settings": settings(map[string]any{})}, "If-Match", etag).header.Get("ETag")
		teacher.do(t, 200, "POST", path+"/quizzes/"+quiz+"/publish", map[string]any{}, "If-Match", etag)
		if a := student.do(t, 403, "GET", attempt+"/media", nil); a.text("code") != "attempt.not_reviewable" {
			t.Errorf("once nothing is reviewed: %s", a)
		}

		// Who loses the course loses the picture with the next request.
		attempt = "/v1/attempts/" + other.do(t, 200, "POST", path+"/items/"+item+"/attempts", map[string]any{}).text("id")
		address = other.do(t, 200, "GET", attempt+"/media", nil).text("items.0.url")
		nobody.do(t, 200, "GET", address, nil)
		teacher.do(t, 200, "POST", path+"/entitlements/"+entitlements[other]+"/revoke", map[string]any{"reason": "The end"})
		refused(t, "a picture", nobody, time.Now(), 403, address)
	})
}

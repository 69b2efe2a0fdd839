package exchange

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif"  // reads sizes of pictures
	_ "image/jpeg" // reads sizes of pictures
	_ "image/png"  // reads sizes of pictures
	"strconv"
	"strings"

	_ "golang.org/x/image/webp" // reads sizes of pictures

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// pictureSize returns the size of a picture in pixels.
func pictureSize(data []byte) (width, height int32, err error) {
	c, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || c.Width < 1 || c.Height < 1 || c.Width > 20_000 || c.Height > 20_000 {
		return 0, 0, refuse("hot_spot.picture", "The picture is no PNG, JPEG, GIF or WebP of at most 20,000 pixels a side.")
	}
	return int32(c.Width), int32(c.Height), nil
}

// coordinates reads whole numbers; those of others may have a part behind the point.
func coordinates(text string) ([]int32, error) {
	var out []int32
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ',' || c == ';' || c == ' ' }) {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil || f < -20_000 || f > 20_000 || len(out) > 200 {
			return nil, refuse("hot_spot.shape", "%q is no shape.", shorten(text, 100))
		}
		out = append(out, max(0, int32(f+0.5)))
	}
	return out, nil
}

// setShape reads a shape of Moodle: a circle x,y;r, a rectangle x,y;w,h or a polygon.
func setShape(r *pb.HotSpotRegion, shape, text string) error {
	c, err := coordinates(text)
	if err != nil {
		return err
	}
	switch {
	case shape == "circle" && len(c) == 3:
		r.Shape = &pb.HotSpotRegion_Circle{Circle: &pb.CircleShape{Center: &pb.ImagePoint{X: c[0], Y: c[1]}, Radius: c[2]}}
	case shape == "rectangle" && len(c) == 4:
		r.Shape = &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{X: c[0], Y: c[1]}, Width: c[2], Height: c[3]}}
	case shape == "polygon" && len(c) >= 6 && len(c)%2 == 0:
		r.Shape = &pb.HotSpotRegion_Polygon{Polygon: &pb.PolygonShape{Points: points(c)}}
	default:
		return refuse("hot_spot.shape", "%s %q is no shape.", shorten(shape, 50), shorten(text, 100))
	}
	return nil
}

func points(c []int32) []*pb.ImagePoint {
	var out []*pb.ImagePoint
	for i := 0; i+1 < len(c); i += 2 {
		out = append(out, &pb.ImagePoint{X: c[i], Y: c[i+1]})
	}
	return out
}

// setArea reads a shape of QTI: a circle x,y,r, a rect left,top,right,bottom, a poly,
// whose first point may be its last too, or all of the picture as default.
func setArea(r *pb.HotSpotRegion, shape, text string, width, height int32) error {
	c, err := coordinates(text)
	if err != nil {
		return err
	}
	switch {
	case shape == "circle" && len(c) == 3:
		return setShape(r, "circle", text)
	case shape == "rect" && len(c) == 4 && c[2] > c[0] && c[3] > c[1]:
		r.Shape = &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{X: c[0], Y: c[1]}, Width: c[2] - c[0], Height: c[3] - c[1]}}
	case shape == "poly" && len(c) >= 6 && len(c)%2 == 0:
		if n := len(c); n > 6 && c[0] == c[n-2] && c[1] == c[n-1] {
			c = c[:n-2]
		}
		r.Shape = &pb.HotSpotRegion_Polygon{Polygon: &pb.PolygonShape{Points: points(c)}}
	case shape == "default":
		r.Shape = &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{}, Width: width, Height: height}}
	default:
		return refuse("hot_spot.shape", "%s %q is no shape.", shorten(shape, 50), shorten(text, 100))
	}
	return nil
}

// shapeOf writes the shape of a region as Moodle does.
func shapeOf(r *pb.HotSpotRegion) (shape, coords string) {
	switch s := r.GetShape().(type) {
	case *pb.HotSpotRegion_Circle:
		return "circle", fmt.Sprintf("%d,%d;%d", s.Circle.GetCenter().GetX(), s.Circle.GetCenter().GetY(), s.Circle.GetRadius())
	case *pb.HotSpotRegion_Rectangle:
		b := s.Rectangle
		return "rectangle", fmt.Sprintf("%d,%d;%d,%d", b.GetCorner().GetX(), b.GetCorner().GetY(), b.GetWidth(), b.GetHeight())
	}
	var list []string
	for _, p := range r.GetPolygon().GetPoints() {
		list = append(list, fmt.Sprintf("%d,%d", p.GetX(), p.GetY()))
	}
	return "polygon", strings.Join(list, ";")
}

// areaOf writes the shape of a region as QTI does.
func areaOf(r *pb.HotSpotRegion) (shape, coords string) {
	shape, coords = shapeOf(r)
	switch shape {
	case "rectangle":
		b := r.GetRectangle()
		x, y := b.GetCorner().GetX(), b.GetCorner().GetY()
		return "rect", fmt.Sprintf("%d,%d,%d,%d", x, y, x+b.GetWidth(), y+b.GetHeight())
	case "polygon":
		shape = "poly"
	}
	return shape, strings.ReplaceAll(coords, ";", ",")
}

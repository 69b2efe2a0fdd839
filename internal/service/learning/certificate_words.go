package learning

import (
	"golang.org/x/text/language"
)

// words are the fixed texts of a certificate in one language.
type words struct {
	language  string
	heading   string
	statement string // above the name and the title of the course
	completed string // %s is the date
	issuer    string // %s is who
	serial    string // %s is which
	code      string // what is read in place of the picture; %s is the address
	date      string // as [time.Time.Format] takes it
}

// vocabulary has English first, which stands for all languages that are not here.
var vocabulary = []words{
	{"en", "Certificate of completion", "This certifies that the person named here has completed the following course", "Completed on %s", "Issued by %s", "Certificate number %s", "QR code with the address where this certificate is verified: %s", "2 January 2006"},
	{"de", "Abschlusszertifikat", "Hiermit wird bestätigt, dass die hier genannte Person den folgenden Kurs abgeschlossen hat", "Abgeschlossen am %s", "Ausgestellt von %s", "Zertifikatsnummer %s", "QR-Code mit der Adresse, unter der dieses Zertifikat geprüft wird: %s", "02.01.2006"},
	{"fr", "Certificat de réussite", "Ce document certifie que la personne nommée ici a suivi le cours suivant jusqu’à son terme", "Terminé le %s", "Délivré par %s", "Certificat n° %s", "Code QR avec l’adresse où ce certificat peut être vérifié : %s", "02/01/2006"},
	{"es", "Certificado de finalización", "Se certifica que la persona aquí nombrada ha completado el siguiente curso", "Completado el %s", "Emitido por %s", "Certificado n.º %s", "Código QR con la dirección donde se verifica este certificado: %s", "02/01/2006"},
	{"pt", "Certificado de conclusão", "Certifica-se que a pessoa aqui nomeada concluiu o seguinte curso", "Concluído em %s", "Emitido por %s", "Certificado n.º %s", "Código QR com o endereço onde este certificado é verificado: %s", "02/01/2006"},
	//nolint:misspell // it is Italian
	{"it", "Certificato di completamento", "Si certifica che la persona qui indicata ha completato il seguente corso", "Completato il %s", "Rilasciato da %s", "Certificato n. %s", "Codice QR con l’indirizzo al quale si verifica questo certificato: %s", "02/01/2006"},
	//nolint:misspell // it is Dutch
	{"nl", "Certificaat van voltooiing", "Hierbij wordt verklaard dat de hier genoemde persoon de volgende cursus heeft voltooid", "Voltooid op %s", "Uitgegeven door %s", "Certificaatnummer %s", "QR-code met het adres waar dit certificaat wordt gecontroleerd: %s", "02-01-2006"},
	{"pl", "Certyfikat ukończenia", "Zaświadcza się, że wymieniona tu osoba ukończyła następujący kurs", "Data ukończenia: %s", "Wydawca: %s", "Numer certyfikatu: %s", "Kod QR z adresem, pod którym można sprawdzić ten certyfikat: %s", "02.01.2006"},
	{"tr", "Tamamlama sertifikası", "Burada adı geçen kişinin aşağıdaki kursu tamamladığı onaylanır", "Tamamlanma tarihi: %s", "Veren: %s", "Sertifika numarası: %s", "Bu sertifikanın doğrulandığı adresi içeren QR kodu: %s", "02.01.2006"},
	{"ru", "Сертификат о прохождении курса", "Настоящим подтверждается, что названный здесь участник прошёл следующий курс", "Дата завершения: %s", "Выдан: %s", "Номер сертификата: %s", "QR-код с адресом, по которому можно проверить этот сертификат: %s", "02.01.2006"},
	{"uk", "Сертифікат про завершення курсу", "Цим підтверджується, що названа тут особа завершила такий курс", "Дата завершення: %s", "Видавець: %s", "Номер сертифіката: %s", "QR-код з адресою, за якою можна перевірити цей сертифікат: %s", "02.01.2006"},
	{"el", "Πιστοποιητικό ολοκλήρωσης", "Πιστοποιείται ότι το πρόσωπο που αναφέρεται εδώ ολοκλήρωσε το ακόλουθο μάθημα", "Ολοκληρώθηκε στις %s", "Εκδόθηκε από: %s", "Αριθμός πιστοποιητικού: %s", "Κωδικός QR με τη διεύθυνση όπου επαληθεύεται αυτό το πιστοποιητικό: %s", "02/01/2006"},
	{"ar", "شهادة إتمام", "تشهد هذه الوثيقة بأن الشخص المذكور هنا قد أتمّ الدورة التالية", "تاريخ الإتمام: %s", "جهة الإصدار: %s", "رقم الشهادة: %s", "رمز QR يتضمن عنوان التحقق من هذه الشهادة: %s", "2006/01/02"},
	{"he", "תעודת סיום", "בזאת מאושר כי האדם הנקוב כאן השלים את הקורס הבא", "תאריך הסיום: %s", "הגוף המנפיק: %s", "מספר התעודה: %s", "קוד QR עם הכתובת שבה מאמתים תעודה זו: %s", "02.01.2006"},
	{"hi", "पूर्णता प्रमाणपत्र", "प्रमाणित किया जाता है कि यहाँ नामित व्यक्ति ने निम्नलिखित पाठ्यक्रम पूरा किया है", "पूर्ण होने की तिथि: %s", "जारीकर्ता: %s", "प्रमाणपत्र संख्या: %s", "इस प्रमाणपत्र के सत्यापन के पते वाला QR कोड: %s", "02/01/2006"},
	{"zh", "结业证书", "兹证明以下人员已完成以下课程", "完成日期：%s", "颁发机构：%s", "证书编号：%s", "二维码，内含验证本证书的网址：%s", "2006年1月2日"},
	{"zh-Hant", "結業證書", "茲證明以下人員已完成以下課程", "完成日期：%s", "頒發機構：%s", "證書編號：%s", "QR Code，內含驗證本證書的網址：%s", "2006年1月2日"},
	{"ja", "修了証書", "下記の者が次の講座を修了したことを証明します", "修了日：%s", "発行者：%s", "証書番号：%s", "この証書を確認できるアドレスのQRコード：%s", "2006年1月2日"},
	{"ko", "수료증", "아래 사람이 다음 과정을 수료하였음을 증명합니다", "수료일: %s", "발급 기관: %s", "수료증 번호: %s", "이 수료증을 확인하는 주소의 QR 코드: %s", "2006년 1월 2일"},
	{"th", "ใบรับรองการสำเร็จหลักสูตร", "ขอรับรองว่าผู้ที่มีชื่อในที่นี้ได้สำเร็จหลักสูตรต่อไปนี้", "วันที่สำเร็จ: %s", "ออกโดย %s", "เลขที่ใบรับรอง: %s", "คิวอาร์โค้ดที่มีที่อยู่สำหรับตรวจสอบใบรับรองนี้: %s", "02/01/2006"},
}

var vocabularyMatcher = func() language.Matcher {
	tags := make([]language.Tag, len(vocabulary))
	for i, w := range vocabulary {
		tags[i] = language.MustParse(w.language)
	}
	return language.NewMatcher(tags)
}()

// wordsFor returns the texts for a course in a language, English ones where there
// are none in it.
func wordsFor(tag string) words {
	t, err := language.Parse(tag)
	if err != nil {
		return vocabulary[0]
	}
	_, i, confidence := vocabularyMatcher.Match(t)
	if confidence == language.No {
		return vocabulary[0]
	}
	return vocabulary[i]
}

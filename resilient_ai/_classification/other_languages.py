"""
The phrases of `phrases` in other languages: Chinese, Japanese, Korean, Russian, Spanish, Portuguese, German, French,
Italian, Polish and Turkish, as gateways and resellers write them. Lower case, bounded, one pattern per meaning.
"""

from __future__ import annotations

MONEY = (
    r"余额(?:不足|.{0,4}(?:为零|耗尽|用完|过低))|欠费|充值|资源包|账单|付费|额度(?:不足|已|用|失败|耗尽)|预扣费|套餐.{0,6}(?:到期|过期|用完|耗尽|不足)"
    r"|残高|チャージ|クレジット.{0,6}(?:不足|足り|切れ)|未払い|支払い|잔액|크레딧.{0,4}(?:부족|소진)|충전|결제"
    r"|недостаточно (?:средств|кредит)|баланс|пополн|оплат|задолженн"
    r"|\bsaldo\b|cr[eé]ditos? (?:insuficient|agotad|esgotad)|fondos insuficientes|(?:sin|sem) (?:saldo|cr[eé]dito)|\bpagos?\b|pagamento|recargue|recarregue"
    r"|guthaben|zahlung|rechnung|kontostand|\bsolde\b|cr[eé]dits? (?:insuffisant|[eé]puis)|paiement|facturation|rechargez|recharger"
    r"|credito (?:insufficiente|esaurito)|brak środków|niewystarczając\w{1,5} środk|\bbakiye"
)
LONG_WINDOW = (
    r"(?:每|当|今|单|本)[日天周月]|[日天周月].{0,4}(?:限额|上限|额度|配额)|使用上限|日额度"
    r"|(?:1日|毎日|本日|今月|月間).{0,8}(?:上限|制限)|(?:일일|월간) ?(?:한도|사용량)|(?:суточн|дневн|месячн)\w{1,4} лимит"
    r"|\b(?:l[ií]mite|quota|cuota|cota|kontingent|limit)\b.{0,15}\b(?:diari|diári|mensual|mensal|mensuel|mensil|semanal|settimanal|hebdomad|quotidi|journali|giornalier)"
    r"|\b(?:täglich|wöchentlich|monatlich|dzienn|miesięczn|günlük|ayl\wk)\w{0,2}\b.{0,15}(?:limit|kontingent|kota|quota)"
)
RATE = (
    r"限流|频率|频繁|速率|并发|(?:请求|调用|访问)(?:次数|数|量)?(?:过多|太多|超限|过快|超过)|每(?:秒|分钟)"
    r"|リクエスト.{0,4}(?:多すぎ|多い|制限)|レート制限|頻度|요청이 (?:너무 )?많|요청 (?:한도|제한)|속도 제한"
    r"|лимит\w{0,3} (?:запросов|частоты)|слишком (?:много|частые) запрос|слишком часто"
    r"|demasiad[ao]s (?:solicitudes|peticiones)|l[ií]mite de (?:solicitudes|peticiones|velocidad|tasa|frecuencia)"
    r"|muitas (?:solicita|requisi)|limite de (?:requisi|solicita|taxa)|zu viele anfragen|anfragelimit|ratenlimit|ratenbegrenzung"
    r"|trop de requ[eê]tes|limite de (?:requ[eê]tes|d[eé]bit)|troppe richieste|zbyt wiele żądań|çok fazla istek"
)
BUSY = (
    r"繁忙|过载|饱和|(?:负载|流量|访问量)过?(?:高|大)|无可用(?:渠道|节点|实例|资源)|(?:资源|算力)(?:不足|紧张)|(?:暂时|服务)不可用|拥挤"
    r"|混雑|過負荷|一時的に(?:利用|使用)|과부하|혼잡|일시적으로|перегруж|временно недоступ"
    r"|sobrecargad|temporalmente no disponible|no disponible temporalmente|sobrecarregad|temporariamente indispon"
    r"|überlast|ausgelastet|vorübergehend nicht|surcharg|temporairement indisponible|momentan[eé]ment indisponible|sovraccaric"
)
TOO_LONG = (
    r"(?:上下文|输入|提示词|prompt|内容|文本|消息|tokens?).{0,10}(?:超长|过长|太长|超出|超过|超限|长度限制|最大长度)|超(?:出|过).{0,12}(?:上下文|最大长度|长度限制|tokens?)"
    r"|(?:入力|プロンプト|トークン|コンテキスト).{0,12}(?:長すぎ|超え|超過|上限)|(?:입력|프롬프트|토큰|컨텍스트).{0,12}(?:너무 (?:길|깁)|초과)"
    r"|(?:слишком длинн|превыша)\w{0,5}.{0,30}(?:контекст|токен|промпт)|(?:контекст|промпт|токен)\w{0,3}.{0,30}(?:слишком|превыша|превышен)"
    r"|(?:demasiado larg|excede|supera|muito long).{0,40}(?:contexto|tokens|longitud|comprimento)|(?:contexto|prompt|entrada).{0,30}(?:demasiado larg|muito long|excede)"
    r"|最大コンテキスト|最大上下文|최대 컨텍스트|maximale kontextlänge|longueur maximale d[ue] contexte|longitud m[aá]xima del? contexto"
    r"|comprimento m[aá]ximo d[eo] contexto|максимальн\w{1,3} (?:длин\w{1,2} )?контекст"
    r"|(?:kontext|eingabe|prompt|anfrage).{0,30}(?:zu lang|überschreitet)|(?:contexte|prompt|entr[eé]e|requ[eê]te).{0,30}(?:trop long|d[eé]passe)"
)
FILTERED = (
    r"敏感|违规|不安全|内容安全|(?:安全|内容)审核|违反.{0,6}(?:政策|规定|法律)|不合规|不当内容|涉[黄政暴]|高风险"
    r"|不適切|ポリシー.{0,4}違反|有害な|부적절|정책 위반|유해한|недопустим\w{1,4} (?:контент|содержан)|нарушает .{0,20}(?:политик|правил)"
    r"|内容过滤|コンテンツ ?フィルタ|콘텐츠 필터|фильтр\w{0,3} (?:контента|содержимого)|inhaltsfilter|filtre de contenu"
    r"|filtros? (?:de|del|do|di|dei) (?:conte[uú]do|contenido|contenut)"
    r"|viola .{0,20}pol[ií]tica|contenido (?:inapropiado|inadecuado)|conte[uú]do (?:impr[oó]prio|inadequado)|verstößt gegen|contenu inappropri"
)
BAD_KEY = (
    r"(?:无效|错误|非法|过期|失效|缺少).{0,4}(?:令牌|密钥|api ?key|token)|(?:令牌|密钥|api ?key|token|凭证).{0,12}(?:无效|非法|错误|过期|不正确|失效|未提供)|未登录|(?:鉴权|认证|验证)失败|身份验证|未授权"
    r"|(?:api ?キー|認証).{0,8}(?:無効|失敗|エラー|正しく)|(?:api ?키|인증).{0,8}(?:유효|실패|오류|잘못)|(?:неверн|недействительн)\w{1,4} (?:api|ключ|токен)|не авторизован"
    r"|clave (?:de )?api (?:no v[aá]lida|inv[aá]lida|incorrecta)|chave (?:de )?api inv[aá]lida|(?:ungültig|falsch)\w{0,3} (?:api|schlüssel|token)|nicht autorisiert"
    r"|cl[eé] (?:d.)?api (?:invalide|incorrecte)|non autoris[eé]|chiave (?:di )?api (?:non valida|errata)|nieprawidłow\w{1,4} klucz|geçersiz (?:api )?anahtar"
)
NOT_ALLOWED = (
    r"(?:无|没有|缺少).{0,4}权限|无权|禁止访问|拒绝访问|(?:尚)?未开通|权限不足|権限がありません|許可されていません|権限.{0,4}不足|권한이 없|нет (?:прав|доступа)|доступ запрещ"
    r"|sin permiso|permiso denegado|acceso denegado|sem permiss|acesso negado|keine berechtigung|zugriff verweigert|acc[eè]s (?:refus|interdit)|pas autoris"
)
NO_MODEL = (
    r"模型.{0,30}(?:不存在|未找到|找不到|不可用|不支持|已下线|未部署|已弃用|已停用)|(?:不存在|不支持|无效|未知|未找到).{0,8}模型"
    r"|モデル.{0,30}(?:見つかりません|存在しません|サポートされていません)|모델.{0,30}(?:찾을 수 없|존재하지 않|지원(?:되지|하지) 않)"
    r"|модел\w{1,3}.{0,40}(?:не найден|не существ|не поддерж)|modelo .{0,40}(?:no existe|no encontrado|n[aã]o (?:existe|encontrado))"
    r"|modell .{0,40}(?:nicht gefunden|existiert nicht|nicht unterstützt)|mod[eè]le .{0,40}(?:n.existe pas|introuvable|non pris en charge)"
)
TIMED_OUT = r"超时|タイムアウト|시간.{0,2}초과|время ожидания|тайм-?аут|tiempo de espera|tempo limite|zeitüberschreitung|d[eé]lai .{0,12}d[eé]pass"

//! A small invented public template library, so that templates can be found and added.

use super::config::EnumValues;

/// One keyword of a public template.
pub(crate) struct Keyword {
    pub(crate) kid: i64,
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
    /// The field type.
    pub(crate) rule: &'static str,
    /// The values of an enum.
    pub(crate) values: &'static [&'static str],
}

/// One public template.
pub(crate) struct PublicTemplate {
    pub(crate) tid: i64,
    pub(crate) title: &'static str,
    /// 2 one-time, 3 long-term.
    pub(crate) kind: i64,
    pub(crate) category_id: i64,
    pub(crate) keywords: &'static [Keyword],
}

const fn keyword(kid: i64, name: &'static str, rule: &'static str, example: &'static str) -> Keyword {
    Keyword { kid, name, example, rule, values: &[] }
}

pub(crate) const LIBRARY: &[PublicTemplate] = &[
    PublicTemplate {
        tid: 1001,
        title: "订单发货提醒",
        kind: 2,
        category_id: 1,
        keywords: &[
            keyword(1, "商品名称", "thing", "手冲咖啡两杯"),
            keyword(2, "订单编号", "character_string", "SN20260102-7"),
            keyword(3, "发货时间", "time", "2026年1月2日 15:04"),
            keyword(4, "订单金额", "amount", "￥36.00"),
            Keyword {
                kid: 5,
                name: "快递公司",
                example: "顺丰",
                rule: "enum_string",
                values: &["顺丰", "京东", "中通"],
            },
            keyword(6, "订单状态", "phrase", "已发货"),
        ],
    },
    PublicTemplate {
        tid: 1002,
        title: "预约提醒",
        kind: 2,
        category_id: 1,
        keywords: &[
            keyword(1, "预约项目", "thing", "茶席体验"),
            keyword(2, "预约日期", "date", "2026年1月3日"),
            keyword(3, "联系电话", "phone_number", "+86-0766-66888866"),
            keyword(4, "预约人", "name", "王小明"),
        ],
    },
    PublicTemplate {
        tid: 1003,
        title: "到货通知",
        kind: 2,
        category_id: 1,
        keywords: &[
            keyword(1, "商品名称", "thing", "明前绿茶"),
            keyword(2, "到货数量", "number", "20"),
            keyword(3, "温馨提示", "thing", "数量有限"),
        ],
    },
    PublicTemplate {
        tid: 2001,
        title: "就诊提醒",
        kind: 3,
        category_id: 2,
        keywords: &[
            keyword(1, "就诊科室", "thing", "口腔科"),
            keyword(2, "就诊时间", "time", "2026年1月5日 09:30"),
            keyword(3, "就诊人", "name", "李雷"),
        ],
    },
];

impl PublicTemplate {
    pub(crate) fn find(tid: i64) -> Option<&'static Self> {
        LIBRARY.iter().find(|template| template.tid == tid)
    }

    pub(crate) fn keyword(&self, kid: i64) -> Option<&'static Keyword> {
        self.keywords.iter().find(|keyword| keyword.kid == kid)
    }
}

impl Keyword {
    /// Its key in a private template: the type and its number.
    pub(crate) fn key(&self) -> String {
        format!("{}{}", self.rule, self.kid)
    }

    pub(crate) fn enum_values(&self) -> Option<EnumValues> {
        (!self.values.is_empty()).then(|| EnumValues {
            keyword_code: format!("{}.DATA", self.key()),
            enum_value_list: self.values.iter().map(|value| (*value).to_owned()).collect(),
        })
    }
}
